"""The starts of a run on a cluster, and the verdict on each: done, requeue, or give up.

    RUN/starts/0001/start.json          job, nodes, and the step of the newest checkpoint at the start
                    rank_00000.json     how each rank ended (missing if the rank had no time to write it)
                    alive/NODE          heartbeat of each node (launch/cluster/heartbeat.py)
                    end.json            the verdict
    RUN/stop                            written by `bertrain stop`: save, and do not requeue

The verdict does not use the scheduler's exit codes, because they report the signal that came first, not its cause.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE, FAILED, STOPPED, USER_ERROR, is_ended_by_signal
from configs.files import atomic_write_text, explain_write_errors
from configs.recipe import load_recipe
from configs.run_layout import CHECKPOINTS, RECIPE, STARTS, STOP, step_of


@dataclass(frozen=True)
class Start:
    """One start of a run, as recorded when it begins."""

    number: int
    job: str
    is_first: bool  # started by the user; the scheduler starts those that follow
    nodes: list[str]
    ranks: int
    step: int  # of the newest checkpoint at the start; 0 if there was none
    time: float  # seconds since 1970


@dataclass(frozen=True)
class RankEnd:
    """How a rank ended. `guilt` is that of `launch.ranks.supervisor.Rank`: 0 or 1 for a cause, 2 for a consequence."""

    rank: int
    node: str
    code: int
    guilt: int = 0
    error: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Verdict:
    """The result of a start: the job's exit code, whether to requeue it, the reason, and the node to exclude."""

    code: int
    comes_back: bool
    reason: str
    without_node: str = ""


def begin_start(run: Path, job: str, *, is_first: bool, nodes: list[str], ranks: int) -> Start:
    """Record a new start. Raise `UserError` if too many starts in a row brought no new checkpoint."""
    if is_first:
        (run / STOP).unlink(missing_ok=True)
    else:
        _check_restart_limit(run)
    number = max((start.number for start in read_starts(run)), default=0) + 1
    start = Start(number, job, is_first, nodes, ranks, newest_step(run), time.time())
    with explain_write_errors(run):
        start_folder_of(run, number).mkdir(parents=True)
        atomic_write_text(start_folder_of(run, number) / "start.json", json.dumps(asdict(start)))
    return start


def end_start(run: Path, start: Start) -> Verdict:
    """Determine how the start ended, record the verdict, and return it."""
    verdict = judge(start, read_ends(run, start.number), was_stopped=(run / STOP).exists())
    if verdict.comes_back:
        try:
            _check_restart_limit(run)
        except UserError as error:
            verdict = Verdict(verdict.code, False, str(error))
    atomic_write_text(start_folder_of(run, start.number) / "end.json", json.dumps(asdict(verdict)))
    return verdict


def judge(start: Start, ends: list[RankEnd], *, was_stopped: bool) -> Verdict:
    """Return the verdict for the ends of the ranks, without the limit on restarts. A pure function."""
    codes = {one.code for one in ends}
    is_complete = len(ends) == start.ranks
    if is_complete and codes == {DONE}:
        return Verdict(DONE, False, "done")
    if USER_ERROR in codes:
        return Verdict(USER_ERROR, False, next(one.error for one in ends if one.code == USER_ERROR))
    if was_stopped:
        return Verdict(STOPPED, False, "stopped on request; submit it again to resume")
    if is_complete and codes <= {DONE, STOPPED}:
        return Verdict(STOPPED, True, "stopped with a checkpoint")
    culprit = _culprit(start, ends)
    return Verdict(FAILED, True, f"rank {culprit.rank} on {culprit.node}: {culprit.error}", without_node=culprit.node)


def read_starts(run: Path) -> list[Start]:
    """Return all starts of a run, in order."""
    files = sorted((run / STARTS).glob("*/start.json"))
    return [Start(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def read_ends(run: Path, number: int) -> list[RankEnd]:
    """Return how the ranks of a start ended, for ranks that recorded it."""
    files = sorted(start_folder_of(run, number).glob("rank_*.json"))
    return [RankEnd(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def read_verdict(run: Path, number: int) -> Verdict | None:
    """Return the verdict on a start; None while it runs, or if its first node failed."""
    file = start_folder_of(run, number) / "end.json"
    return Verdict(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def record_end(run: Path, number: int, one: RankEnd) -> None:
    """Record how a rank ended."""
    atomic_write_text(start_folder_of(run, number) / f"rank_{one.rank:05}.json", json.dumps(asdict(one)))


def start_folder_of(run: Path, number: int) -> Path:
    """Return the folder of a start."""
    return run / STARTS / f"{number:04}"


def node_of(start: Start, rank: int) -> str:
    """Return the node of a rank. Nodes hold equal numbers of consecutive ranks."""
    ranks_per_node = max(1, start.ranks // len(start.nodes))
    return start.nodes[min(rank // ranks_per_node, len(start.nodes) - 1)]


def newest_step(run: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 if there is none."""
    states = (run / CHECKPOINTS).glob("step_*/state.json")
    return max((step_of(state.parent.name) or 0 for state in states), default=0)


def starts_without_checkpoint(run: Path) -> int:
    """Return the number of latest starts, back to the user's, that brought no new checkpoint."""
    return sum(1 for _ in _latest_without_checkpoint(run))


def _latest_without_checkpoint(run: Path) -> Iterator[Start]:
    step = newest_step(run)
    for start in reversed(read_starts(run)):
        if start.step < step:
            return
        yield start
        if start.is_first:
            return


def _check_restart_limit(run: Path) -> None:
    limit = load_recipe(run / RECIPE).cluster.max_restarts
    count = starts_without_checkpoint(run)
    if count > limit:
        raise UserError(
            f"{count} starts in a row saved no new checkpoint (the newest is step {newest_step(run)}): giving up",
            place=str(run),
            fix=f"see {run / 'logs'}; cluster.max_restarts is {limit}",
        )


def _culprit(start: Start, ends: list[RankEnd]) -> RankEnd:
    """Return the rank that caused the failure: the first with its own error, else one without a record."""
    failed = [one for one in ends if one.code not in (DONE, STOPPED) and not is_ended_by_signal(one.code)]
    causes = [one for one in failed if one.guilt < 2]
    without_record = sorted(set(range(start.ranks)) - {one.rank for one in ends})
    if causes or (failed and not without_record):
        return min(causes or failed, key=lambda one: one.time)
    if without_record:
        rank = without_record[0]
        return RankEnd(rank, node_of(start, rank), FAILED, error="ended without an error message")
    return min(ends, key=lambda one: one.time)
