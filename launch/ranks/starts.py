"""The starts of a run, as recorded in its folder.

    RUN/starts/0001/start.json          job, nodes, and the step of the newest checkpoint at the start
                    begun/rank_00000    the node of each rank whose process has begun
                    rank_00000.json     how each rank ended (missing if it had no time to write it)
                    alive/NODE          heartbeat of each node (launch/ranks/heartbeat.py)
                    end.json            the verdict (launch/cluster/verdict.py)
    RUN/stop                            a request of `bertrain stop` to save and end; names a start or a job

Records on a full or failing disk can be missing, incomplete or damaged. Readers skip what they cannot read, and what
differs from its checksum.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from configs.files import atomic_write_text, explain_write_errors, read_bounded
from configs.records import parse_line, record_line
from configs.run_layout import CHECKPOINTS, STARTS, STOP, rank_of, start_folder, step_of

BEGUN = "begun"
RENAMED = {"comes_back": "requeue", "guilt": "fault"}  # keys of earlier versions

Record = TypeVar("Record")


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
    """How a rank ended. `fault` is that of `launch.ranks.supervisor.Rank`: 0 or 1 for a cause, 2 for a consequence."""

    rank: int
    node: str
    code: int
    fault: int = 0
    error: str = ""
    time: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Verdict:
    """The result of a start: the job's exit code, whether to requeue it, the reason, and the node to exclude."""

    code: int
    requeue: bool
    reason: str
    without_node: str = ""


def begin_start(run: Path, job: str, *, is_first: bool, nodes: Iterable[str], ranks: int) -> Start:
    """Take the next number, so that the run belongs to this start, and record it."""
    from pretrain.checkpoint import claim_start  # here, so that submitting a job does not import the trainer

    number = claim_start(run)
    start = Start(number, job, is_first, list(nodes), ranks, newest_step(run), time.time())
    if is_first and not is_stop_requested(run, start):
        (run / STOP).unlink(missing_ok=True)  # a request to an earlier job
    with explain_write_errors(run):
        _write(start_folder(run, number) / "start.json", start)
    return start


def this_process() -> str:
    """Return the job name of a start without a scheduler."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def read_starts(run: Path) -> list[Start]:
    """Return all readable starts of a run, in order."""
    found = (_read(Start, file) for file in sorted((run / STARTS).glob("*/start.json")))
    return [start for start in found if start]


def read_ends(run: Path, number: int) -> list[RankEnd]:
    """Return how the ranks of a start ended, for ranks that recorded it."""
    found = (_read(RankEnd, file) for file in sorted(start_folder(run, number).glob("rank_*.json")))
    return [end for end in found if end]


def count_ends(run: Path, number: int) -> int:
    """Return how many ranks of a start have recorded their end."""
    return sum(1 for _ in start_folder(run, number).glob("rank_*.json"))


def read_verdict(run: Path, number: int) -> Verdict | None:
    """Return the verdict on a start; None while it runs, or if its first node failed."""
    return _read(Verdict, start_folder(run, number) / "end.json")


def record_begin(run: Path, number: int, rank: int, node: str) -> None:
    """Record that the process of a rank has begun."""
    with suppress(OSError):  # a full disk must not end training
        (start_folder(run, number) / BEGUN).mkdir(exist_ok=True)
        (start_folder(run, number) / BEGUN / f"rank_{rank:05}").write_text(node, encoding="utf-8")


def ranks_begun(run: Path, number: int) -> set[int]:
    """Return the ranks of a start whose processes have begun."""
    found = (rank_of(file.name) for file in (start_folder(run, number) / BEGUN).glob("rank_*"))
    return {rank for rank in found if rank is not None}


def record_end(run: Path, number: int, one: RankEnd) -> None:
    """Record how a rank ended. Raises `OSError` if it cannot be written."""
    _write(start_folder(run, number) / f"rank_{one.rank:05}.json", one)


def record_verdict(run: Path, number: int, verdict: Verdict) -> None:
    """Record the result of a start. Raises `OSError` if it cannot be written."""
    _write(start_folder(run, number) / "end.json", verdict)


def request_stop(run: Path, whom: str) -> None:
    """Ask `start N` or `job ID` to save and end. Its rank 0 reads the request at its next step."""
    with explain_write_errors(run):
        atomic_write_text(run / STOP, whom + "\n")


def is_stop_requested(run: Path, start: Start) -> bool:
    """Return whether a request to save and end names this start or its job."""
    from pretrain.stop import asked_to_stop  # here, so that the command line does not import the trainer's package

    return asked_to_stop(run) in (f"start {start.number}", f"job {start.job}")


def node_of(start: Start, rank: int) -> str:
    """Return the node of a rank. Nodes hold equal numbers of consecutive ranks."""
    ranks_per_node = max(1, start.ranks // max(1, len(start.nodes)))
    return start.nodes[min(rank // ranks_per_node, len(start.nodes) - 1)] if start.nodes else ""


def newest_step(run: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 if there is none."""
    states = (run / CHECKPOINTS).glob("step_*/state.json")
    return max((step_of(state.parent.name) or 0 for state in states), default=0)


def _write(file: Path, record: Start | RankEnd | Verdict) -> None:
    atomic_write_text(file, record_line(asdict(record)) + "\n")


def _read(kind: type[Record], file: Path) -> Record | None:
    try:
        table = parse_line(read_bounded(file).rstrip() + b"\n") or {}
        known = {one.name for one in fields(kind)}  # type: ignore[arg-type]  # all kinds are dataclasses
        values = {name: value for key, value in table.items() if (name := RENAMED.get(key, key)) in known}
        return TypeAdapter(kind).validate_python(values)
    except (OSError, ValueError):  # pydantic's errors are ValueErrors
        return None
