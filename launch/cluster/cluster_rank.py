"""One rank of a job: `python -m launch.cluster.cluster_rank RUN START`, a task of srun or a process of mpirun.

It finds its place, gives the rank compile caches on the node that are this start's own (on a shared file system they
crash, and a build that was killed midway would hang the next start), watches it with the same supervisor as on one
machine, and leaves word of how it ended. To the scheduler, "stopped with a checkpoint" is a success: it would end the
other ranks at once otherwise.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from configs.run_layout import LOGS

signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until the supervisor listens; any other rank's wish to stop will do

from configs.errors import UserError  # noqa: E402 (a signal during the imports would end the job)
from configs.exit_codes import DONE, STOPPED, USER_ERROR  # noqa: E402
from launch.cluster import heartbeat, starts  # noqa: E402
from launch.ranks import (  # noqa: E402
    TRACEBACK,
    RankAddress,
    RankCommand,
    Supervisor,
    find_run,
    flight_recorder,
    last_words,
    mpi_address,
    rank_argv,
    slurm_address,
)

CACHES = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TORCH_EXTENSIONS_DIR": "extensions"}


def run_rank(run: Path, number: int, place: RankAddress) -> int:
    """Run one rank to its end; its exit code, but 0 for a rank that stopped with a checkpoint."""
    if place.rank != 0:  # the job's log shows rank 0; each rank's own has all
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    caches = make_caches(run, number)
    patience_s = find_run(run).cluster.collective_timeout_s
    command = replace(rank_command(run, place, caches), patience_s=patience_s)
    command.log.parent.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor([command], {})
    try:
        with heartbeat.beating(run, number, _node()) if place.local_rank == 0 else nullcontext():
            code = supervisor.run()
    finally:
        if place.local_rank == 0:
            shutil.rmtree(caches, ignore_errors=True)
    rank = supervisor.ranks[0]
    guilt = rank.guilt[0] if rank.failed else 0
    starts.note_end(run, number, starts.RankEnd(place.rank, _node(), code, guilt, _last_line(rank.log.tail())))
    return DONE if code == STOPPED else code


def rank_command(run: Path, place: RankAddress, caches: Path) -> RankCommand:
    """`python -m pretrain RUN --resume auto` at its place."""
    logs = run / LOGS
    env = {
        **place.variables(),
        **{name: str(caches / folder) for name, folder in CACHES.items()},
        **flight_recorder(logs),
        "PYTHONUNBUFFERED": "1",
    }
    return RankCommand(place.rank, rank_argv(run, ["--resume", "auto"]), env, logs / f"rank_{place.rank:05}.log")


def make_caches(run: Path, number: int) -> Path:
    """A folder on this node, shared by the start's ranks here, whose name nobody else can take beforehand unnoticed.

    What earlier starts of the same job had no time to remove goes.
    """
    # @ is in no run's name: the folders of run a, job 1 are told from those of run a-1.
    job = f"bertrain@{os.getuid()}@{run.name}@{os.environ.get('SLURM_JOB_ID', os.getppid())}"
    folder = Path(tempfile.gettempdir()) / f"{job}@{number}"
    for earlier in folder.parent.glob(f"{job}@*"):
        if earlier != folder:
            shutil.rmtree(earlier, ignore_errors=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise UserError("somebody else made this folder", place=str(folder), fix="set TMPDIR to a folder of your own")
    return folder


def _last_line(output: str) -> str:
    """What a rank died of, in one line; empty for one that said nothing of the kind."""
    lines = last_words(output).splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    return (told or (lines if TRACEBACK in output else []) or [""])[-1][:500]


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments, find the place, run the rank; returns the exit code for the scheduler."""
    parser = argparse.ArgumentParser(prog="python -m launch.cluster.cluster_rank", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("start", type=int)
    parser.add_argument("--mpi", action="store_true", help="ask MPI for the place, not Slurm")
    given = parser.parse_args(arguments)
    try:
        place = mpi_address() if given.mpi else slurm_address(os.environ)
        return run_rank(given.run, given.start, place)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
