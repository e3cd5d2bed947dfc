"""Runs under Open MPI: `mpirun_argv` returns the command, `run_under_mpi` starts and restarts it until the run is done.

mpirun only starts the processes. Each asks MPI for its rank, and together they choose the rendezvous (see
launch/ranks/rank_address.py). In a Slurm allocation, `srun --mpi=pmix` starts the same processes with the command that
`pmix_rank_argv` returns. slurmd also looks for X displays (see `rank_address.ASK_NO_DISPLAY`): on a node where
TensorBoard runs, set that variable for slurmd, too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE, STOP_SIGNALS, USER_ERROR, ended_by
from configs.files import read_bounded
from configs.machine import dies_with, require_package
from configs.run_layout import start_folder
from configs.schema import ClusterConfig, Recipe
from launch.cluster.batch_script import correctable_keys, network_variables, python_argv, ranks_per_node
from launch.cluster.verdict import INTERRUPTED, end_start
from launch.ranks import ASK_NO_DISPLAY, Start, begin_start, note_signals, ranks_begun, read_ends, this_process

INSTALL_MPI = "on Debian: apt-get install openmpi-bin; on a cluster: module load openmpi"
OPEN_PORTS = "open the ports between the hosts"
MEETING_S = 120.0
MPIRUN_LOG = "mpirun.log"  # in the start's folder: what mpirun and its processes wrote to standard error
COPY_S = 5.0  # for the last lines of standard error, which a process that outlives mpirun can keep open
# mpirun's own messages: paragraphs between rules, and lines that begin with "[host:process]".
_OF_MPIRUN = re.compile(r"^-{70,}\n(.*?)^-{70,}$|^\[\S+:\d+\].*$", re.MULTILINE | re.DOTALL)


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
    return [*python_argv(recipe.cluster), "-m", "launch.cluster.cluster_rank", str(run), str(number), "--mpi"]


def run_under_mpi(recipe: Recipe, run: Path) -> int:
    """Run to the end, and return the exit code of `bertrain train`. Restart after failures, within the recipe's limit.

    A stop signal is forwarded: the ranks save, and the run ends with 75. Before all ranks have begun, it ends them.
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
            argv = mpirun_argv(recipe, run, start.number, as_root=os.getuid() == 0, network=network)
            begun = partial(_have_all_begun, run, start)
            _run_once(argv, received, begun, start_folder(run, start.number) / MPIRUN_LOG)
            refusal = "" if received else _refusal(recipe.cluster, run, start)
            verdict = end_start(run, start, refusal, was_interrupted=bool(received))
            if verdict.code != DONE:
                sys.stderr.write(f"bertrain: start {start.number}: {verdict.reason}\n")
            if received and verdict.code == INTERRUPTED:
                return ended_by(received[0])
            if received or not verdict.requeue:
                return verdict.code
            is_first = False


def _have_all_begun(run: Path, start: Start) -> bool:
    return len(ranks_begun(run, start.number)) == start.ranks


def _refusal(cluster: ClusterConfig, run: Path, start: Start) -> str:
    """Return the error for which each restart would fail, too; empty if there is none.

    A restart has the same hosts: what a rank refuses there it refuses again, and so does a host on which no rank of the
    user's own start has begun.
    """
    wrong = [end.error for end in read_ends(run, start.number) if end.code == USER_ERROR]
    if wrong or not start.is_first or ranks_begun(run, start.number):
        return next(iter(wrong), "")
    with suppress(OSError):
        said = read_bounded(start_folder(run, start.number) / MPIRUN_LOG).decode(errors="replace")
        cause = f"no rank begins: {what_ended(said)}"
        return f"error: {UserError(cause, place='mpirun', fix=_correction(cluster))}"
    return ""


def _correction(cluster: ClusterConfig) -> str:
    """Return the fix for ranks that mpirun cannot start: the keys that say how, as far as they are set."""
    keys = correctable_keys(cluster)
    return f"correct {keys}" if keys else "try `mpirun -np 1 hostname`, and correct MPI's installation"


def what_ended(said: str) -> str:
    """Return the last line of the processes that mpirun started or, if they are silent, mpirun's first message.

    `said` is the standard error of mpirun, in which both are mixed.
    """
    lines = [line.strip() for line in _OF_MPIRUN.sub("", said).splitlines() if line.strip()]
    messages = [match[1] for match in _OF_MPIRUN.finditer(said) if match[1]]
    paragraphs = [text for text in "".join(messages[:1]).split("\n\n") if not text.startswith("NOTE")]
    message = " ".join(" ".join(paragraphs).split()).rstrip(".")
    return (lines[-1] if lines else message or "mpirun says nothing")[:300]


def meet_under_mpi(cluster: ClusterConfig) -> str:
    """Start one rank on each host, or two on this machine, and return the address at which they reach rank 0.

    Raises `UserError` with what they printed if they fail.
    """
    _require_mpirun()
    nodes, ranks = (len(cluster.hosts), 1) if cluster.hosts else (1, 2)
    program = "from launch.ranks import mpi_address; found = mpi_address(); found.rank or print(found.address)"
    start = _start_argv(cluster, ranks, nodes, os.getuid() == 0, network_variables(os.environ))
    argv = [*start, *python_argv(cluster), "-c", program]
    try:
        ended = subprocess.run(
            argv, env={**ASK_NO_DISPLAY, **os.environ}, capture_output=True, text=True, timeout=MEETING_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"mpirun's ranks do not meet within {MEETING_S:.0f} s", place="mpirun", fix=OPEN_PORTS
        ) from None
    if ended.returncode:
        cause = f"mpirun's ranks fail: {what_ended(ended.stderr)}"
        raise UserError(cause, place="mpirun", fix=_correction(cluster))
    return ended.stdout.split()[0]


def _require_mpirun() -> None:
    if shutil.which("mpirun") is None:
        raise UserError("mpirun is not installed", place="PATH", fix=INSTALL_MPI)


def _run_once(argv: Sequence[str], received: list[signal.Signals], have_begun: Callable[[], bool], log: Path) -> None:
    """Run mpirun, and copy its standard error to `log`.

    Forward stop signals as SIGUSR1, because mpirun kills the ranks after any other signal. It drops those that come
    before it has started the ranks, which have nothing to save until all `have_begun`: it is ended instead.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**ASK_NO_DISPLAY, **os.environ},
        preexec_fn=dies_with(os.getpid()),
    )
    copying = threading.Thread(target=_copy, args=(process.stderr, log), daemon=True)
    copying.start()
    forwarded = 0
    try:
        while process.poll() is None:
            if len(received) > forwarded:
                forwarded = len(received)
                process.send_signal(signal.SIGUSR1 if have_begun() else signal.SIGTERM)
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        copying.join(COPY_S)
    finally:
        if process.poll() is None:
            process.terminate()


def _copy(lines: Iterable[bytes], log: Path) -> None:
    """Write lines to standard error and to a file. A closed terminal or a full disk does not stop the others."""
    for line in lines:
        with suppress(OSError):
            os.write(sys.stderr.fileno(), line)
        with suppress(OSError), log.open("ab") as copy:
            copy.write(line)
