"""One rank of a job: `python -m launch.cluster.cluster_rank RUN START`, a task of srun or a process of mpirun.

Finds the rank's address, creates compile caches on the node for this start only, runs the rank under the same
supervisor as on one machine, and records how it ended. Compile caches on a shared file system crash, and a build that
was killed would make the next start hang. "Stopped with a checkpoint" exits with 0, because the scheduler would
otherwise kill the other ranks.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from configs.machine import terminate_with_parent
from configs.run_layout import LOGS

EARLY: list[signal.Signals] = []  # stop requests from before the supervisor
signal.signal(signal.SIGUSR1, lambda number, _: EARLY.append(signal.Signals(number)))

from configs.errors import UserError  # noqa: E402 (a signal during the imports would end the job)
from configs.exit_codes import DONE, STOPPED, USER_ERROR  # noqa: E402
from configs.files import explain_write_errors  # noqa: E402
from configs.machine import private_folder  # noqa: E402
from launch.ranks import (  # noqa: E402
    TRACEBACK,
    RankAddress,
    RankCommand,
    RankEnd,
    Supervisor,
    beating,
    count_ends,
    find_run,
    hold_lock,
    last_words,
    mpi_address,
    pause_s,
    rank_argv,
    record_begin,
    record_end,
    slurm_address,
    torch_variables,
)

CACHES = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TORCH_EXTENSIONS_DIR": "extensions"}
RENDEZVOUS = "BERTRAIN_RENDEZVOUS"  # the folder in which the ranks of a single node meet
RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID")
FAULTY = 1  # the `fault` of a rank that failed by itself
AGREEMENT_S = 30.0  # ranks that find the same fault in the user's input find it within this time of each other


def run_rank(run: Path, number: int, place: RankAddress) -> int:
    """Run one rank to its end, record it, and return its exit code; 0 if it stopped with a checkpoint."""
    record_begin(run, number, place.rank, _node())
    if place.rank != 0:  # the job's log shows rank 0 only; each rank has its own complete log
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    try:
        end = _supervise(run, number, place)
    except UserError as error:  # of this node, e.g. its disk is full
        end = RankEnd(place.rank, _node(), USER_ERROR, FAULTY, f"error: {error}")
        sys.stderr.write(end.error + "\n")
    try:
        record_end(run, number, end)
    except OSError as error:
        sys.stderr.write(f"rank {place.rank} on {_node()} cannot record its end: {error}\n")
    return DONE if end.code == STOPPED else end.code


def _supervise(run: Path, number: int, place: RankAddress) -> RankEnd:
    caches = make_caches(run, number)
    command = rank_command(run, number, place, caches)
    with explain_write_errors(command.log.parent):
        command.log.parent.mkdir(parents=True, exist_ok=True)
    limit_s = find_run(run).cluster.collective_timeout_s
    supervisor = Supervisor([replace(command, patience_s=limit_s)], {}, early=EARLY)
    with ExitStack() as stack:
        if place.local_rank == 0:
            stack.callback(shutil.rmtree, caches, ignore_errors=True)
            stack.enter_context(beating(run, number, _node(), pause_s(limit_s)))
        if place.rank == 0:
            stack.enter_context(hold_lock(run))
        code = supervisor.run()
    rank = supervisor.ranks[0]
    return RankEnd(place.rank, _node(), code, rank.fault[0] if rank.failed else 0, _last_line(rank.log.tail()))


def _await_other_ends(run: Path, number: int, world_size: int) -> None:
    """Give the other ranks time to fail in the same way, before the scheduler kills them because this one ends."""
    deadline = time.monotonic() + AGREEMENT_S
    while time.monotonic() < deadline and count_ends(run, number) < world_size:
        time.sleep(0.5)


def rank_command(run: Path, number: int, place: RankAddress, caches: Path) -> RankCommand:
    """Return the command `python -m pretrain RUN --resume auto` with the rank's environment."""
    logs = run / LOGS
    env = {
        **place.variables(os.environ),
        **{name: str(caches / folder) for name, folder in CACHES.items()},
        RENDEZVOUS: str(caches),
        **torch_variables(logs, os.environ),
        "PYTHONUNBUFFERED": "1",
    }
    argv = rank_argv(run, ["--resume", "auto", "--start", str(number)])
    return RankCommand(place.rank, argv, env, logs / f"rank_{place.rank:05}.log")


def make_caches(run: Path, number: int) -> Path:
    """Create a private folder on this node, which the start's ranks here share.

    Removes the folders of earlier starts of the same job.
    Raises `UserError` if another user has created a folder or link of this name, or can access it.
    """
    # Run names contain no @, so the names of different runs and jobs never coincide.
    job = f"bertrain@{os.getuid()}@{run.name}@{os.environ.get('SLURM_JOB_ID', os.getppid())}"
    folder = private_folder(f"{job}@{number}")
    for earlier in folder.parent.glob(f"{glob.escape(job)}@*"):
        if earlier != folder and not earlier.is_symlink() and earlier.stat().st_uid == os.getuid():
            shutil.rmtree(earlier, ignore_errors=True)
    return folder


def _last_line(output: str) -> str:
    """Return the last line of a rank's error; empty if it printed none."""
    lines = last_words(output).splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or (lines if TRACEBACK in output else []) or [""])[-1][:500]


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, run the rank, and return the exit code for the scheduler."""
    parser = argparse.ArgumentParser(prog="python -m launch.cluster.cluster_rank", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("start", type=int)
    parser.add_argument("--mpi", action="store_true", help="read the rank's address from MPI instead of Slurm")
    given = parser.parse_args(arguments)
    terminate_with_parent()  # of a killed step daemon or mpirun
    try:
        place = mpi_address() if given.mpi else slurm_address(os.environ)
        code = run_rank(given.run, given.start, place)
    except UserError as error:  # the rank's address is not known
        sys.stderr.write(f"error: {error}\n")
        with suppress(OSError):
            _record_refusal(given.run, given.start, error)
        return USER_ERROR
    if code == USER_ERROR and not given.mpi:  # under MPI, one rank's error is enough to end the run
        _await_other_ends(given.run, given.start, place.world_size)
    return code


def _record_refusal(run: Path, number: int, error: UserError) -> None:
    """Record an error in the user's input, so that the start ends with it and is not repeated."""
    rank = next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name, "").isdecimal()), 0)
    record_begin(run, number, rank, _node())
    record_end(run, number, RankEnd(rank, _node(), USER_ERROR, FAULTY, f"error: {error}"))


if __name__ == "__main__":
    sys.exit(main())
