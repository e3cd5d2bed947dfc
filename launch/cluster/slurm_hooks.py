"""Commands that a batch script runs before and after its ranks.

    python -m launch.cluster.slurm_hooks begin RUN NODE...  record a start; print its number and a free port
    python -m launch.cluster.slurm_hooks end RUN NUMBER     record its end; print the job's exit code, `again` (requeue)
                                                            or `no`, and the failed node, if any

Job id, restart count and number of ranks come from Slurm's environment. Standard error goes to the job's log.
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

PORTS = range(20_000, 32_000)  # below the ports that the kernel assigns automatically


def begin(run: Path, nodes: list[str]) -> str:
    """Record a start. Raise `UserError` if too many starts before it brought no new checkpoint."""
    is_first = os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
    ranks = int(os.environ["SLURM_NTASKS"])
    start = starts.begin_start(run, os.environ["SLURM_JOB_ID"], is_first=is_first, nodes=nodes, ranks=ranks)
    _log(f"start {start.number} of {run} on {' '.join(nodes)}, from step {start.step}")
    # If another job takes the port first, the restart chooses another one.
    first = os.getpid() % len(PORTS)
    ports = [*PORTS[first:], *PORTS[:first]]
    port = first_free_port(ports, host="", fix="exclude this node from the job: cluster.exclude")
    return f"{start.number} {port}"


def end(run: Path, number: int) -> str:
    """Determine how a start ended. Return the verdict as a line for the script, and log its reason."""
    start = next(one for one in starts.read_starts(run) if one.number == number)
    verdict = starts.end_start(run, start)
    _log(f"start {number}: {verdict.reason}")
    return f"{verdict.code} {'again' if verdict.comes_back else 'no'} {verdict.without_node}"


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, and print the result as one line on standard output."""
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
        _log(f"error: {error}")
        return USER_ERROR
    sys.stdout.write(line + "\n")
    return DONE


def _log(text: str) -> None:
    sys.stderr.write(f"bertrain: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
