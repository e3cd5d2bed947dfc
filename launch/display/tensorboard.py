"""`bertrain tensorboard`: serve the given runs on localhost only."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from configs.machine import dies_with, require_package
from configs.run_layout import TENSORBOARD
from launch.ranks import check_is_run, first_free_port, note_signals
from launch.terminal import console

PORTS_TO_TRY = 100


def serve_tensorboard(runs: Sequence[Path], port: int) -> int:
    """Serve until Ctrl-C, and return TensorBoard's exit code. `port` is the first one to try."""
    require_package("tensorboard")
    for run in runs:
        check_is_run(run)
    with tempfile.TemporaryDirectory(prefix="bertrain-tensorboard-") as folder:
        for name, run in named(runs).items():
            (Path(folder) / name).symlink_to((run / TENSORBOARD).absolute())
        ports = range(port, min(port + PORTS_TO_TRY, 65_536))
        free = first_free_port(ports, fix="choose another port with --port")
        host = f"{getpass.getuser()}@{socket.gethostname()}"
        received: list[signal.Signals] = []
        with note_signals((signal.SIGINT, signal.SIGTERM), received):
            console().print(f"TensorBoard: http://localhost:{free} (Ctrl-C stops it)")
            console().print(f"To reach it from another machine, run there: ssh -N -L {free}:localhost:{free} {host}")
            return _run(command(Path(folder), free), received)


def _run(argv: Sequence[str], received: Sequence[signal.Signals]) -> int:
    """Run until the process ends (return its exit code) or a signal is received (return 0)."""
    # In a session of its own, so that Ctrl-C reaches this process only and TensorBoard prints no traceback.
    process = subprocess.Popen(argv, preexec_fn=dies_with(os.getpid()), start_new_session=True)
    while not received:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(0.2)
            return 0 if received else code
    process.kill()
    process.wait()
    return 0


def command(folder: Path, port: int) -> list[str]:
    """Return the command line that starts TensorBoard."""
    where = ["--logdir", str(folder), "--host", "localhost", "--port", str(port)]
    return [sys.executable, "-P", "-m", "tensorboard.main", *where]


def named(runs: Sequence[Path]) -> dict[str, Path]:
    """Map each run's folder name to its path; use the whole path as the name if several folders share a name."""
    paths = list(dict.fromkeys(run.resolve() for run in runs))
    names = [path.name for path in paths]
    return {
        path.name if names.count(path.name) == 1 else str(path).strip("/").replace("/", "_"): path for path in paths
    }
