"""Ranks on this machine: `plan_ranks` returns their commands, `run_ranks` runs them until the last one ends.

    RUN/logs/rank_NNNNN.log    output of each rank, appended at every start; rank 0's is also shown on the console

Ranks of a single machine meet in a folder of their own, and nothing listens. Several machines, each with its own
command, meet at the address and port that the user gives.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.machine import require_package, terminate_with_parent, usable_cores
from configs.run_layout import LOGS
from configs.schema import ClusterConfig, Recipe
from launch.ranks import run_folder
from launch.ranks.rank_address import LOOPBACK, interface_towards, interface_variables
from launch.ranks.rank_log import TERMINAL, Screen
from launch.ranks.starts import Verdict, record_verdict
from launch.ranks.supervisor import RankCommand, Supervisor

# Variables that configure torch's allocator on a GPU.
ALLOCATOR = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}


@dataclass(frozen=True)
class Machine:
    """The resources that the ranks of one machine share."""

    gpus: int
    cores: int
    threads: int = 0  # per rank, as the user's OMP_NUM_THREADS states; 0: not stated


@dataclass(frozen=True)
class Nodes:
    """Machines that train together with equal numbers of ranks: how many, this one's number, and the rendezvous."""

    count: int = 1
    number: int = 0
    address: str = LOOPBACK
    port: int | None = None  # None: the ranks of a single machine need none
    interface: str = "lo"  # for gloo and NCCL: gloo otherwise resolves the host name, which can fail


ALONE = Nodes()


def nodes_at(rendezvous: str | None, count: int, number: int) -> Nodes:
    """Return machines that meet at `HOST:PORT`, an address of the first. Raise `UserError` for invalid values."""
    if rendezvous is None and count == 1 and number == 0:
        return ALONE
    place, _, port = (rendezvous or "").rpartition(":")
    match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)|\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]", place)
    host = (match[1] or match[2]) if match else ""
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        fix = "give an address of the first machine and a free port, e.g. 10.0.0.1:29500 or [fd00::1]:29500"
        raise UserError(f"{rendezvous!r} is not HOST:PORT", place="--rendezvous", fix=fix)
    if number >= count:
        raise UserError(f"nodes are numbered 0 to {count - 1}", place=f"--node-rank {number}", fix="count from 0")
    return Nodes(count, number, host, int(port), interface_towards(host, int(port)))


def this_machine() -> Machine:
    """Return the GPUs that CUDA sees, within CUDA_VISIBLE_DEVICES, and the cores that this process may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return Machine(_cuda_devices(), usable_cores(), int(stated) if stated.isdecimal() else 0)


def plan_ranks(
    recipe: Recipe,
    run: Path,
    arguments: Sequence[str],
    machine: Machine,
    *,
    log: str = "rank",
    logs: Path | None = None,
    nodes: Nodes = ALONE,
) -> list[RankCommand]:
    """Return the command of each rank on this machine, `python -m pretrain RUN ARGUMENTS`.

    A pure function, except that it leaves NCCL's interface and the allocator as the environment sets them.

    `logs` is the folder of their logs, if it is not the run's. Raises `UserError` if the machine lacks the GPUs that
    `[cluster]` requests.
    """
    ranks = _rank_count(recipe.cluster, machine)
    threads = recipe.cluster.cpu_threads or machine.threads or max(1, machine.cores // ranks)
    argv, logs = rank_argv(run, arguments), logs or run / LOGS
    shared = {
        "WORLD_SIZE": str(nodes.count * ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": nodes.address,
        **({"MASTER_PORT": str(nodes.port)} if nodes.port else {}),
        **interface_variables(nodes.interface, os.environ),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",  # show each line on the console when it is written
        **torch_variables(logs, os.environ),
    }
    places = [(nodes.number * ranks + local_rank, local_rank) for local_rank in range(ranks)]
    return [
        RankCommand(
            rank,
            argv,
            {**shared, "RANK": str(rank), "LOCAL_RANK": str(local)},
            logs / f"{log}_{rank:05}.log",
            recipe.cluster.collective_timeout_s,
        )
        for rank, local in places
    ]


def torch_variables(logs: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return torch's settings of a rank.

    NCCL writes each rank's trace to `logs` when a collective times out. On a GPU, memory grows in place: ragged rows
    need tensors of other sizes at each step, which would leave gaps in segments of a fixed size. An allocator that
    `environment` configures is left as it is.
    """
    grows = {} if ALLOCATOR & environment.keys() else {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    return {
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_FR_DUMP_TEMP_FILE": str(logs / "nccl_trace_rank_"),
        **grows,
    }


def rank_argv(run: Path, arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the argv of a rank. -P keeps folders in the working directory from shadowing our packages."""
    return (sys.executable, "-P", "-m", "pretrain", str(run), *arguments)


def run_ranks(commands: Sequence[RankCommand], screen: Screen = TERMINAL) -> int:
    """Run the ranks under a `Supervisor`, and return its exit code. Raise `UserError` if torch is not installed."""
    require_package("torch")
    for folder in {command.log.parent for command in commands}:
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    if "MASTER_PORT" in commands[0].env:
        return Supervisor(commands, {}, screen).run()
    with explain_write_errors(Path(tempfile.gettempdir())):
        private = tempfile.TemporaryDirectory(prefix="bertrain-", ignore_cleanup_errors=True)
    with private as name:  # of mode 0700
        return Supervisor(commands, {"BERTRAIN_RENDEZVOUS": name, "MASTER_PORT": "0"}, screen).run()


def train_here(recipe: Recipe, resume: str, nodes: Nodes = ALONE, screen: Screen = TERMINAL) -> int:
    """Train on this machine, together with the other `nodes` if there are several. Return the exit code.

    The first machine opens the run folder, which all machines share; the others wait for its recipe.
    """
    arguments, machine = ["--resume", resume], this_machine()
    run = run_folder.run_folder_of(recipe)
    commands = plan_ranks(recipe, run, arguments, machine, nodes=nodes)
    if nodes.number:
        run_folder.await_recipe(recipe)
        return run_ranks(commands, screen)
    with run_folder.begin_run(recipe, resume, ranks=nodes.count * len(commands)) as start:
        code = run_ranks(with_start(commands, start.number), screen)
        with suppress(OSError):  # the run itself has ended as it should
            record_verdict(run, start.number, Verdict(code, False, ""))
        return code


def with_start(commands: Sequence[RankCommand], number: int) -> list[RankCommand]:
    """Return the commands of the ranks of start `number`."""
    return [replace(command, argv=(*command.argv, "--start", str(number))) for command in commands]


def become_rank(recipe: Recipe, resume: str) -> NoReturn:
    """Replace this process, which torchrun started, by the rank's process.

    Rank 0 opens the run folder, and its process keeps the lock; the others wait for its recipe.
    """
    arguments = ["--resume", resume]
    terminate_with_parent()  # torchrun's agent: without it, nobody ends ranks that wait for each other
    os.environ.update(torch_variables(run_folder.run_folder_of(recipe) / LOGS, os.environ))
    if os.environ["RANK"] == "0":
        ranks = int(os.environ["WORLD_SIZE"])
        with run_folder.begin_run(recipe, resume, ranks=ranks, for_child=True) as start:
            arguments += ["--start", str(start.number)]
            _execute(rank_argv(run_folder.run_folder_of(recipe), arguments))
    _execute(rank_argv(run_folder.await_recipe(recipe), arguments))


def _execute(argv: tuple[str, ...]) -> NoReturn:
    os.execv(argv[0], argv)  # noqa: S606 - runs without a shell on purpose


def _rank_count(cluster: ClusterConfig, machine: Machine) -> int:
    if cluster.device == "cpu":
        return cluster.ranks_per_node or 1
    if cluster.device == "cuda" and not machine.gpus:
        raise UserError(
            "no GPU is visible on this machine", place="cluster.device=cuda", fix="set cluster.device=cpu or auto"
        )
    ranks = cluster.ranks_per_node or machine.gpus or 1
    if 0 < machine.gpus < ranks:
        raise UserError(
            f"{ranks} ranks, but {machine.gpus} GPU(s) on this machine",
            place="cluster.ranks_per_node",
            fix="lower it, or set cluster.device=cpu",
        )
    return ranks


def _cuda_devices() -> int:
    """Count GPUs with the driver, because importing torch takes seconds."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value
