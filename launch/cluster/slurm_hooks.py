"""Commands that a batch script runs before, beside and after its ranks.

    python -m launch.cluster.slurm_hooks begin RUN NODE...  record a start; print its number, a free port,
                                                            and a secret of the ranks
    python -m launch.cluster.slurm_hooks check              only check the runs of --after
    python -m launch.cluster.slurm_hooks watch RUN NUMBER   return when a node has sent no heartbeat for too long
    python -m launch.cluster.slurm_hooks end RUN NUMBER     record its end; print the job's exit code, `again` (requeue)
                                                            or `no`, and the failed node, if any

`begin` and `check` take `--after RUN` for each run that must be finished before, as `submit` gives it to the script:
Slurm takes a job that did nothing for one that succeeded.

Job id, restart count and number of ranks come from Slurm's environment. Standard error goes to the job's log.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE, STOPPED, USER_ERROR
from configs.run_layout import start_folder
from launch.cluster.verdict import check_finished, check_restart_limit, end_start, record_silence
from launch.ranks import (
    Start,
    Verdict,
    begin_start,
    check_is_run,
    find_run,
    first_free_port,
    heartbeats,
    is_stop_requested,
    pause_s,
    read_ends,
    read_starts,
    record_verdict,
)

PORTS = range(20_000, 32_000)  # below the ports that the kernel assigns automatically


class StopRequested(Exception):  # noqa: N818 (a user's wish)
    """A user has asked this job to stop before its ranks started."""

    def __str__(self) -> str:
        return "stopped on request before the ranks started; submit it again to resume"


def begin(run: Path, nodes: list[str]) -> str:
    """Record a start. Raise `UserError` for no run, or if too many starts failed without a new checkpoint."""
    check_is_run(run)  # a path that was edited or damaged in the script must not become a run
    is_first = os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
    if not is_first:
        check_restart_limit(run)
    ranks = len(nodes) * int(os.environ["SLURM_NTASKS_PER_NODE"])  # SLURM_NTASKS counts spare nodes, too
    start = begin_start(run, os.environ["SLURM_JOB_ID"], is_first=is_first, nodes=nodes, ranks=ranks)
    _log(f"start {start.number} of {run} on {' '.join(nodes)}, from step {start.step}")
    if is_stop_requested(run, start):
        record_verdict(run, start.number, Verdict(STOPPED, False, str(StopRequested())))
        raise StopRequested
    # If another job takes the port first, the restart chooses another one.
    first = os.getpid() % len(PORTS)
    ports = [*PORTS[first:], *PORTS[:first]]
    port = first_free_port(ports, host="", fix="exclude this node from the job: cluster.exclude")
    return f"{start.number} {port} {secrets.token_hex(32)}"


def watch(run: Path, number: int) -> str:
    """Wait until a node's heartbeat has not changed for the recipe's limit; record that node, and return it.

    A node falls silent when its step daemon is killed or its supervisor is stopped, and srun would wait for it until
    the time limit. A node whose ranks have all ended is silent by right: if that holds for all nodes, and srun still
    waits, no node is named. Compares a heartbeat with the one before, because the clocks of nodes and file systems
    differ.
    """
    start, limit_s = _start(run, number), find_run(run).cluster.collective_timeout_s
    changed: dict[str, tuple[float, float]] = {}  # by node: when its heartbeat was first seen, and the heartbeat
    while True:
        now = time.monotonic()
        for node, beat in heartbeats(run, number).items():
            if node not in changed or changed[node][1] != beat:
                changed[node] = now, beat
        silent = {node for node, (seen, _) in changed.items() if now - seen > limit_s}
        ended = _ended_nodes(run, start)
        if silent - ended or (silent == changed.keys() and len(ended) == len(start.nodes)):
            first = min(silent - ended, key=changed.__getitem__, default="")
            with suppress(OSError):
                record_silence(run, number, first)
            return first
        time.sleep(pause_s(limit_s))


def _start(run: Path, number: int) -> Start:
    """Return the record of a start. Raise `UserError` if it is missing or damaged."""
    for start in read_starts(run):
        if start.number == number:
            return start
    fix = "submit the job again; it resumes from the newest checkpoint"
    raise UserError("the start's record is missing or damaged", place=str(start_folder(run, number)), fix=fix)


def _ended_nodes(run: Path, start: Start) -> set[str]:
    """Return the nodes whose ranks have all recorded their end."""
    ended = Counter(one.node for one in read_ends(run, start.number))
    return {node for node, ranks in ended.items() if ranks * len(start.nodes) >= start.ranks}


def end(run: Path, number: int) -> str:
    """Determine how a start ended. Return the verdict as a line for the script, and log its reason."""
    verdict = end_start(run, _start(run, number))
    _log(f"start {number}: {verdict.reason}")
    return f"{verdict.code} {'again' if verdict.requeue else 'no'} {verdict.without_node}"


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, and print the result as one line on standard output."""
    parser = argparse.ArgumentParser(prog="python -m launch.cluster.slurm_hooks", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    beginning = actions.add_parser("begin")
    for action in (beginning, actions.add_parser("check")):
        action.add_argument("--after", type=Path, action="append", default=[])
    beginning.add_argument("run", type=Path)
    beginning.add_argument("nodes", nargs="+")
    watching = actions.add_parser("watch")
    watching.add_argument("run", type=Path)
    watching.add_argument("number", type=int)
    ending = actions.add_parser("end")
    ending.add_argument("run", type=Path)
    ending.add_argument("number", type=int)
    given = parser.parse_args(arguments)
    try:
        if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":  # a restart was checked by the first start
            for run in getattr(given, "after", ()):
                check_finished(run)
        if given.action == "check":
            return DONE
        if given.action == "begin":
            line = begin(given.run, given.nodes)
        else:
            line = (watch if given.action == "watch" else end)(given.run, given.number)
    except StopRequested as request:
        _log(str(request))
        return STOPPED
    except UserError as error:
        _log(f"error: {error}")
        return USER_ERROR
    sys.stdout.write(line + "\n")
    return DONE


def _log(text: str) -> None:
    sys.stderr.write(f"bertrain: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
