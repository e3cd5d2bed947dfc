"""The starts of a run on a cluster, and what follows from the end of each: done, come back, or give up.

    RUN/starts/0001/start.json          job, nodes, newest checkpoint's step at that moment
                    rank_00000.json     how each rank ended (a rank that had no time to say so has none)
                    alive/NODE          each node's sign of life (launch/cluster/heartbeat.py)
                    end.json            what followed
    RUN/stop                            `bertrain stop` was here: save, and do not come back

A scheduler's own exit codes cannot be trusted here: they tell of the signal that came first, not of its cause.
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
from configs.run_layout import CHECKPOINTS, RECIPE, STARTS, STOP


@dataclass(frozen=True)
class Start:
    """One start of a run, as it began."""

    number: int
    job: str
    is_first: bool  # by a human's hand; the restarts that follow are the scheduler's
    nodes: list[str]
    ranks: int
    step: int  # of the newest checkpoint then; 0 where there was none
    time: float  # seconds since 1970


@dataclass(frozen=True)
class RankEnd:
    """How a rank ended. `guilt` as `launch.ranks.supervisor.Rank.guilt` has it: 0 or 1 for a cause, 2 for an effect."""

    rank: int
    node: str
    code: int
    guilt: int = 0
    error: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Verdict:
    """What follows from a start: the job's exit code, whether it comes back, without which node, and why."""

    code: int
    comes_back: bool
    reason: str
    without_node: str = ""


def begin_start(run: Path, job: str, *, is_first: bool, nodes: list[str], ranks: int) -> Start:
    """Record a new start. Raises `UserError` when too many have brought no checkpoint."""
    if is_first:
        (run / STOP).unlink(missing_ok=True)
    else:
        _check_bound(run)
    number = max((start.number for start in read_starts(run)), default=0) + 1
    start = Start(number, job, is_first, nodes, ranks, newest_step(run), time.time())
    with explain_write_errors(run):
        start_folder_of(run, number).mkdir(parents=True)
        atomic_write_text(start_folder_of(run, number) / "start.json", json.dumps(asdict(start)))
    return start


def end_start(run: Path, start: Start) -> Verdict:
    """Judge how the start ended, record the verdict, and return it."""
    verdict = judge(start, read_ends(run, start.number), was_stopped=(run / STOP).exists())
    if verdict.comes_back:
        try:
            _check_bound(run)
        except UserError as error:
            verdict = Verdict(verdict.code, False, str(error))
    atomic_write_text(start_folder_of(run, start.number) / "end.json", json.dumps(asdict(verdict)))
    return verdict


def judge(start: Start, ends: list[RankEnd], *, was_stopped: bool) -> Verdict:
    """What follows from how the ranks ended, the bound on restarts aside. A pure function."""
    codes = {one.code for one in ends}
    is_complete = len(ends) == start.ranks
    if is_complete and codes == {DONE}:
        return Verdict(DONE, False, "done")
    if USER_ERROR in codes:
        return Verdict(USER_ERROR, False, next(one.error for one in ends if one.code == USER_ERROR))
    if was_stopped:
        return Verdict(STOPPED, False, "stopped on request; submit it again to continue")
    if is_complete and codes <= {DONE, STOPPED}:
        return Verdict(STOPPED, True, "stopped with a checkpoint")
    culprit = _culprit(start, ends)
    return Verdict(FAILED, True, f"rank {culprit.rank} on {culprit.node}: {culprit.error}", without_node=culprit.node)


def read_starts(run: Path) -> list[Start]:
    """All starts of a run, in their order."""
    files = sorted((run / STARTS).glob("*/start.json"))
    return [Start(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def read_ends(run: Path, number: int) -> list[RankEnd]:
    """How the ranks of a start ended, as far as they said."""
    files = sorted(start_folder_of(run, number).glob("rank_*.json"))
    return [RankEnd(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def read_verdict(run: Path, number: int) -> Verdict | None:
    """What followed from a start; None while it runs, or when its node died with it."""
    file = start_folder_of(run, number) / "end.json"
    return Verdict(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def note_end(run: Path, number: int, one: RankEnd) -> None:
    """Leave word of how a rank ended."""
    atomic_write_text(start_folder_of(run, number) / f"rank_{one.rank:05}.json", json.dumps(asdict(one)))


def start_folder_of(run: Path, number: int) -> Path:
    """The folder of a start."""
    return run / STARTS / f"{number:04}"


def node_of(start: Start, rank: int) -> str:
    """Where a rank runs: ranks are dealt to the nodes in their order, equally many to each."""
    ranks_per_node = max(1, start.ranks // len(start.nodes))
    return start.nodes[min(rank // ranks_per_node, len(start.nodes) - 1)]


def newest_step(run: Path) -> int:
    """The step of the newest whole checkpoint; 0 where there is none."""
    states = (run / CHECKPOINTS).glob("step_*/state.json")
    return max((int(state.parent.name.removeprefix("step_")) for state in states), default=0)


def barren_starts(run: Path) -> int:
    """The last starts in a row, back to the one by hand, that brought no new checkpoint."""
    return sum(1 for _ in _barren(run))


def _barren(run: Path) -> Iterator[Start]:
    step = newest_step(run)
    for start in reversed(read_starts(run)):
        if start.step < step:
            return
        yield start
        if start.is_first:
            return


def _check_bound(run: Path) -> None:
    bound = load_recipe(run / RECIPE).cluster.max_restarts
    barren = barren_starts(run)
    if barren > bound:
        raise UserError(
            f"{barren} starts in a row brought no new checkpoint (the newest is of step {newest_step(run)}): giving up",
            place=str(run),
            fix=f"see {run / 'logs'}; cluster.max_restarts is {bound}",
        )


def _culprit(start: Start, ends: list[RankEnd]) -> RankEnd:
    """The rank that failed first by its own fault; one that vanished without a word before one that followed others."""
    failed = [one for one in ends if one.code not in (DONE, STOPPED) and not is_ended_by_signal(one.code)]
    causes = [one for one in failed if one.guilt < 2]
    silent = sorted(set(range(start.ranks)) - {one.rank for one in ends})
    if causes or (failed and not silent):
        return min(causes or failed, key=lambda one: one.time)
    if silent:
        return RankEnd(silent[0], node_of(start, silent[0]), FAILED, error="vanished without a word")
    return min(ends, key=lambda one: one.time)
