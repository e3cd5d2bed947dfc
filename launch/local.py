"""Ranks on this machine: `plan` says which commands they are, `run` starts them and stays until the last has ended.

    RUN/logs/rank_NNNNN.log    what each rank printed, appended at every start; rank 0's is shown on the console too

All ranks meet at one port of the loopback address, which `run` holds for them.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.schema import ClusterConfig, Recipe
from launch import run_folder
from launch.supervisor import RankCommand, Supervisor

LOOPBACK = "127.0.0.1"
LOGS = "logs"


@dataclass(frozen=True)
class Machine:
    """What there is to share among the ranks of one machine."""

    gpus: int
    cores: int


def this_machine() -> Machine:
    """GPUs as CUDA counts them (CUDA_VISIBLE_DEVICES heeded), cores that this process may use."""
    return Machine(gpus=_cuda_devices(), cores=len(os.sched_getaffinity(0)))


def plan(
    recipe: Recipe, run: Path, arguments: Sequence[str], machine: Machine, *, log: str = "rank"
) -> list[RankCommand]:
    """The ranks of a run on one machine: `python -m pretrain RUN ARGUMENTS`, once a rank. A pure function.

    Raises `UserError` when the machine has not the GPUs that `[cluster]` asks for.
    """
    ranks = _rank_count(recipe.cluster, machine)
    threads = recipe.cluster.cpu_threads or max(1, machine.cores // ranks)
    argv = rank_argv(run, arguments)
    shared = {
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": LOOPBACK,
        "GLOO_SOCKET_IFNAME": "lo",  # else gloo asks for the machine's name, which need not resolve
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",  # the console shows a line when it is written
    }
    return [
        RankCommand(
            rank, argv, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, run / LOGS / f"{log}_{rank:05}.log"
        )
        for rank in range(ranks)
    ]


def rank_argv(run: Path, arguments: Sequence[str]) -> tuple[str, ...]:
    """One rank as argv. -P: a folder `pretrain` or `configs` in the working directory must not shadow ours."""
    return (sys.executable, "-P", "-m", "pretrain", str(run), *arguments)


def run(commands: Sequence[RankCommand]) -> int:
    """Start the ranks and watch them; returns the exit code of the whole (see `Supervisor`)."""
    for folder in {command.log.parent for command in commands}:
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    with _held_port() as port:
        return Supervisor(commands, {"MASTER_PORT": str(port)}).run()


def become_rank(recipe: Recipe, resume: str) -> NoReturn:
    """Inside torchrun, which has started this process as one of its ranks: turn into that rank.

    Rank 0 opens the run's folder, the others wait for its recipe; its lock stays with the process.
    """
    arguments = ["--resume", resume]
    if os.environ["RANK"] == "0":
        with run_folder.opened(recipe, resume, for_child=True) as run:
            _execute(rank_argv(run, arguments))
    _execute(rank_argv(run_folder.await_recipe(recipe), arguments))


def _execute(argv: tuple[str, ...]) -> NoReturn:
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def _rank_count(cluster: ClusterConfig, machine: Machine) -> int:
    if cluster.device == "cpu":
        return cluster.ranks_per_node or 1
    if cluster.device == "cuda" and not machine.gpus:
        raise UserError("no GPU is visible here", place="cluster.device=cuda", mend="set cluster.device=cpu or auto")
    ranks = cluster.ranks_per_node or machine.gpus or 1
    if 0 < machine.gpus < ranks:
        raise UserError(
            f"{ranks} ranks, but {machine.gpus} GPU(s) here",
            place="cluster.ranks_per_node",
            mend="lower it, or set cluster.device=cpu",
        )
    return ranks


def _cuda_devices() -> int:
    """Ask the driver itself: torch, which would know too, takes seconds to import."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


@contextmanager
def _held_port() -> Iterator[int]:
    """A free port that nobody else takes before rank 0 listens on it.

    The socket is bound and never listens: with SO_REUSEADDR on both sides, Linux lets rank 0's store bind and listen
    beside it, while the kernel gives the port to no one who asks for any.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        yield holder.getsockname()[1]
