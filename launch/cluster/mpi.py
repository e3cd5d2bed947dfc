"""Runs under Open MPI: `mpirun_argv` returns the command, `run_under_mpi` starts and restarts it until the run is done.

mpirun only starts the processes. Each asks MPI for its rank, and together they choose the rendezvous (see
launch/ranks/rank_address.py). In a Slurm allocation, `srun --mpi=pmix` starts the same processes with the command that
`pmix_rank_argv` returns. slurmd also looks for X displays (see `rank_address.ASK_NO_DISPLAY`): on a node where
TensorBoard runs, set that variable for slurmd, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import STOP_SIGNALS
from configs.machine import dies_with, require_package
from configs.schema import ClusterConfig, Recipe
from launch.cluster.batch_script import network_variables, ranks_per_node
from launch.cluster.verdict import end_start
from launch.ranks import ASK_NO_DISPLAY, begin_start, note_signals, this_process

INSTALL_MPI = "on Debian: apt-get install openmpi-bin; on a cluster: module load openmpi"
OPEN_PORTS = "open the ports between the hosts"
MEETING_S = 120.0


def mpirun_argv(recipe: Recipe, run: Path, number: int, *, as_root: bool, network: Sequence[str] = ()) -> list[str]:
    """Return the argv that starts all ranks of start `number`. A pure function.

    `network` are names of variables to pass to other hosts, in addition to the recipe's.

    `as_root` adds the option without which Open MPI refuses to run as root.
    """
    cluster = recipe.cluster
    return [
        *_start_argv(cluster, ranks_per_node(cluster), cluster.nodes, as_root, network),
        *pmix_rank_argv(recipe, run, number),
    ]


def _start_argv(cluster: ClusterConfig, ranks: int, nodes: int, as_root: bool, network: Sequence[str]) -> list[str]:
    hosts = ["--host", ",".join(f"{host}:{ranks}" for host in cluster.hosts)] if cluster.hosts else []
    passed = [word for name in dict.fromkeys((*network, *cluster.environment)) for word in ("-x", name)]
    return [
        "mpirun",
        *(["--allow-run-as-root"] if as_root else []),
        "--oversubscribe",  # mpirun limits ranks to the number of cores; the recipe sets the number of ranks
        *("--bind-to", "none"),  # mpirun would bind all threads of a rank to one or two cores
        *("-np", str(nodes * ranks)),
        *("--map-by", f"ppr:{ranks}:node"),
        *hosts,
        *passed,
    ]


def pmix_rank_argv(recipe: Recipe, run: Path, number: int) -> list[str]:
    """Return the argv of one rank, for any launcher that supports PMIx."""
    python = recipe.cluster.python or sys.executable
    return [
        *recipe.cluster.container,
        python,
        "-P",
        "-m",
        "launch.cluster.cluster_rank",
        str(run),
        str(number),
        "--mpi",
    ]


def run_under_mpi(recipe: Recipe, run: Path) -> int:
    """Run to the end, and return the exit code of `bertrain train`. Restart after failures, within the recipe's limit.

    A stop signal is forwarded: the ranks save, and the run ends with 75.
    """
    _require_mpirun()
    if not recipe.cluster.container and not recipe.cluster.python:  # the ranks' Python is this one
        require_package("mpi4py")
    nodes = recipe.cluster.hosts or [os.uname().nodename]
    ranks = recipe.cluster.nodes * ranks_per_node(recipe.cluster)
    is_first, network = True, network_variables(os.environ)
    received: list[signal.Signals] = []
    with note_signals(STOP_SIGNALS, received):
        while True:
            start = begin_start(run, this_process(), is_first=is_first, nodes=nodes, ranks=ranks)
            _run_once(mpirun_argv(recipe, run, start.number, as_root=os.getuid() == 0, network=network), received)
            verdict = end_start(run, start)
            if received or not verdict.requeue:
                return verdict.code
            is_first = False


def meet_under_mpi(cluster: ClusterConfig) -> str:
    """Start one rank on each host, or two on this machine, and return the address at which they reach rank 0.

    Raises `UserError` with what they printed if they fail.
    """
    _require_mpirun()
    nodes, ranks = (len(cluster.hosts), 1) if cluster.hosts else (1, 2)
    program = "from launch.ranks import mpi_address; found = mpi_address(); found.rank or print(found.address)"
    argv = [*_start_argv(cluster, ranks, nodes, os.getuid() == 0, network_variables(os.environ)), *cluster.container]
    argv += [cluster.python or sys.executable, "-P", "-c", program]
    try:
        ended = subprocess.run(
            argv, env={**ASK_NO_DISPLAY, **os.environ}, capture_output=True, text=True, timeout=MEETING_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"mpirun's ranks do not meet within {MEETING_S:.0f} s", place="mpirun", fix=OPEN_PORTS
        ) from None
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if "Error: " in line or "error: " in line]
        raise UserError(f"mpirun's ranks fail: {(said or [ended.stderr])[0][:300]}", place="mpirun", fix=INSTALL_MPI)
    return ended.stdout.split()[0]


def _require_mpirun() -> None:
    if shutil.which("mpirun") is None:
        raise UserError("mpirun is not installed", place="PATH", fix=INSTALL_MPI)


def _run_once(argv: Sequence[str], received: list[signal.Signals]) -> None:
    """Run mpirun. Forward stop signals as SIGUSR1, because mpirun kills the ranks after any other signal."""
    environment = {**ASK_NO_DISPLAY, **os.environ}
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, start_new_session=True, env=environment, preexec_fn=dies_with(os.getpid())
    )
    forwarded = 0
    try:
        while process.poll() is None:
            if len(received) > forwarded:
                forwarded = len(received)
                process.send_signal(signal.SIGUSR1)
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:
            process.terminate()
