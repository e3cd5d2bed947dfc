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
from configs.schema import Recipe
from launch.cluster.batch_script import network_variables, ranks_per_node
from launch.cluster.verdict import end_start
from launch.ranks import ASK_NO_DISPLAY, begin_start, note_signals, this_process


def mpirun_argv(recipe: Recipe, run: Path, number: int, *, as_root: bool, network: Sequence[str] = ()) -> list[str]:
    """Return the argv that starts all ranks of start `number`. A pure function.

    `network` are names of variables to pass to other hosts, in addition to the recipe's.

    `as_root` adds the option without which Open MPI refuses to run as root.
    """
    cluster = recipe.cluster
    ranks = ranks_per_node(cluster)
    hosts = ["--host", ",".join(f"{host}:{ranks}" for host in cluster.hosts)] if cluster.hosts else []
    passed = [word for name in dict.fromkeys((*network, *cluster.environment)) for word in ("-x", name)]
    return [
        "mpirun",
        *(["--allow-run-as-root"] if as_root else []),
        "--oversubscribe",  # mpirun limits ranks to the number of cores; the recipe sets the number of ranks
        *("--bind-to", "none"),  # mpirun would bind all threads of a rank to one or two cores
        *("-np", str(cluster.nodes * ranks)),
        *("--map-by", f"ppr:{ranks}:node"),
        *hosts,
        *passed,
        *pmix_rank_argv(recipe, run, number),
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
    if shutil.which("mpirun") is None:
        fix = "on Debian: apt-get install openmpi-bin; on a cluster: module load openmpi"
        raise UserError("mpirun is not installed", place="PATH", fix=fix)
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
