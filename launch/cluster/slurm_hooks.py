"""What a job's script calls on the node where it runs, before and after its ranks.

    python -m launch.cluster.slurm_hooks begin RUN NODE...  records a start; prints its number and a free port
    python -m launch.cluster.slurm_hooks end RUN NUMBER     judges it; prints its exit code, `again` or `no`, a bad node

Job, restart count and number of ranks come from Slurm's environment. Standard error ends in the job's log.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE, USER_ERROR
from launch.cluster import starts
from launch.ranks import first_free_port

PORTS = range(20_000, 32_000)  # below those that the kernel hands out to anyone


def begin(run: Path, nodes: list[str]) -> str:
    """Record a start; `UserError` when too many before it brought nothing."""
    is_first = os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
    ranks = int(os.environ["SLURM_NTASKS"])
    start = starts.begin_start(run, os.environ["SLURM_JOB_ID"], is_first=is_first, nodes=nodes, ranks=ranks)
    _say(f"start {start.number} of {run} on {' '.join(nodes)}, from step {start.step}")
    # Should another job take the port first, the restart finds another.
    first = os.getpid() % len(PORTS)
    ports = [*PORTS[first:], *PORTS[:first]]
    port = first_free_port(ports, host="", fix="exclude this node from the job: cluster.exclude")
    return f"{start.number} {port}"


def end(run: Path, number: int) -> str:
    """Judge a start. A verdict in one line for the script, its reason for the log."""
    start = next(one for one in starts.read_starts(run) if one.number == number)
    verdict = starts.end_start(run, start)
    _say(f"start {number}: {verdict.reason}")
    return f"{verdict.code} {'again' if verdict.comes_back else 'no'} {verdict.without_node}"


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and answer in one line on standard output."""
    parser = argparse.ArgumentParser(prog="python -m launch.cluster.slurm_hooks", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    beginning = actions.add_parser("begin")
    beginning.add_argument("run", type=Path)
    beginning.add_argument("nodes", nargs="+")
    ending = actions.add_parser("end")
    ending.add_argument("run", type=Path)
    ending.add_argument("number", type=int)
    given = parser.parse_args(arguments)
    try:
        line = begin(given.run, given.nodes) if given.action == "begin" else end(given.run, given.number)
    except UserError as error:
        _say(f"error: {error}")
        return USER_ERROR
    sys.stdout.write(line + "\n")
    return DONE


def _say(text: str) -> None:
    sys.stderr.write(f"bertrain: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
