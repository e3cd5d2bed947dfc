"""Ranks on this machine: `plan_ranks` says which commands they are, `run_ranks` runs them until the last has ended.

    RUN/logs/rank_NNNNN.log    what each rank printed, appended at every start; rank 0's is shown on the console too

Alone, all ranks meet at one port of the loopback address, which `run_ranks` holds for them. Several machines, each
with a command of its own, meet at the address and port that the user gives.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.run_layout import LOGS
from configs.schema import ClusterConfig, Recipe
from launch.ranks import run_folder
from launch.ranks.rank_address import LOOPBACK, interface_towards
from launch.ranks.rank_log import TERMINAL, Screen
from launch.ranks.supervisor import RankCommand, Supervisor


@dataclass(frozen=True)
class Machine:
    """What there is to share among the ranks of one machine."""

    gpus: int
    cores: int


@dataclass(frozen=True)
class Nodes:
    """Machines that train together, each with as many ranks: how many, which of them this is, and where all meet."""

    count: int = 1
    number: int = 0
    address: str = LOOPBACK
    port: int | None = None  # None: `run_ranks` finds one
    interface: str = "lo"  # for gloo, which would ask for the machine's name otherwise; that need not resolve


ALONE = Nodes()


def nodes_at(rendezvous: str | None, count: int, number: int) -> Nodes:
    """Several machines that meet at `HOST:PORT`, an address of the first. `UserError` where that cannot be."""
    if rendezvous is None and count == 1 and number == 0:
        return ALONE
    host, _, port = (rendezvous or "").rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", host) or not port.isdecimal() or not 0 < int(port) < 65_536:
        fix = "give an address of the first machine and a free port, e.g. 10.0.0.1:29500"
        raise UserError(f"{rendezvous!r} is no host and port", place="--rendezvous", fix=fix)
    if number >= count:
        raise UserError(f"there are nodes 0 to {count - 1}", place=f"--node-rank {number}", fix="count from 0")
    return Nodes(count, number, host, int(port), interface_towards(host, int(port)))


def this_machine() -> Machine:
    """GPUs as CUDA counts them (CUDA_VISIBLE_DEVICES heeded), cores that this process may use."""
    return Machine(gpus=_cuda_devices(), cores=len(os.sched_getaffinity(0)))


def plan_ranks(
    recipe: Recipe, run: Path, arguments: Sequence[str], machine: Machine, *, log: str = "rank", nodes: Nodes = ALONE
) -> list[RankCommand]:
    """The ranks of a run on this machine: `python -m pretrain RUN ARGUMENTS`, once a rank. A pure function.

    Raises `UserError` when the machine has not the GPUs that `[cluster]` asks for.
    """
    ranks = _rank_count(recipe.cluster, machine)
    threads = recipe.cluster.cpu_threads or max(1, machine.cores // ranks)
    argv = rank_argv(run, arguments)
    shared = {
        "WORLD_SIZE": str(nodes.count * ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": nodes.address,
        **({"MASTER_PORT": str(nodes.port)} if nodes.port else {}),
        **({"GLOO_SOCKET_IFNAME": nodes.interface} if nodes.interface else {}),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",  # the console shows a line when it is written
        **flight_recorder(run / LOGS),
    }
    places = [(nodes.number * ranks + local_rank, local_rank) for local_rank in range(ranks)]
    return [
        RankCommand(
            rank,
            argv,
            {**shared, "RANK": str(rank), "LOCAL_RANK": str(local)},
            run / LOGS / f"{log}_{rank:05}.log",
            recipe.cluster.collective_timeout_s,
        )
        for rank, local in places
    ]


def flight_recorder(logs: Path) -> dict[str, str]:
    """A collective that times out leaves what each rank was doing beside the logs (NCCL's flight recorder)."""
    return {
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_FR_DUMP_TEMP_FILE": str(logs / "nccl_trace_rank_"),
    }


def rank_argv(run: Path, arguments: Sequence[str]) -> tuple[str, ...]:
    """One rank as argv. -P: a folder `pretrain` or `configs` in the working directory must not shadow ours."""
    return (sys.executable, "-P", "-m", "pretrain", str(run), *arguments)


def run_ranks(commands: Sequence[RankCommand], screen: Screen = TERMINAL) -> int:
    """Start the ranks and watch them; returns the exit code of the whole (see `Supervisor`)."""
    for folder in {command.log.parent for command in commands}:
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    if "MASTER_PORT" in commands[0].env:
        return Supervisor(commands, {}, screen).run()
    with _held_port() as port:
        return Supervisor(commands, {"MASTER_PORT": str(port)}, screen).run()


def train_here(recipe: Recipe, resume: str, nodes: Nodes = ALONE, screen: Screen = TERMINAL) -> int:
    """Train on this machine, with others where there are several `nodes`; returns the exit code.

    The first machine opens the run's folder, which all of them share; the others wait for its recipe.
    """
    arguments, machine = ["--resume", resume], this_machine()
    commands = plan_ranks(recipe, run_folder.run_folder_of(recipe), arguments, machine, nodes=nodes)
    if nodes.number:
        run_folder.await_recipe(recipe)
        return run_ranks(commands, screen)
    with run_folder.open_run(recipe, resume):
        return run_ranks(commands, screen)


def become_rank(recipe: Recipe, resume: str) -> NoReturn:
    """Inside torchrun, which has started this process as one of its ranks: turn into that rank.

    Rank 0 opens the run's folder, the others wait for its recipe; its lock stays with the process.
    """
    arguments = ["--resume", resume]
    os.environ.update(flight_recorder(run_folder.run_folder_of(recipe) / LOGS))
    if os.environ["RANK"] == "0":
        with run_folder.open_run(recipe, resume, for_child=True) as run:
            _execute(rank_argv(run, arguments))
    _execute(rank_argv(run_folder.await_recipe(recipe), arguments))


def _execute(argv: tuple[str, ...]) -> NoReturn:
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def _rank_count(cluster: ClusterConfig, machine: Machine) -> int:
    if cluster.device == "cpu":
        return cluster.ranks_per_node or 1
    if cluster.device == "cuda" and not machine.gpus:
        raise UserError("no GPU is visible here", place="cluster.device=cuda", fix="set cluster.device=cpu or auto")
    ranks = cluster.ranks_per_node or machine.gpus or 1
    if 0 < machine.gpus < ranks:
        raise UserError(
            f"{ranks} ranks, but {machine.gpus} GPU(s) here",
            place="cluster.ranks_per_node",
            fix="lower it, or set cluster.device=cpu",
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
