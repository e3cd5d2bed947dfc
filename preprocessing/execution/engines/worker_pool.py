"""A pool of workers on a node, for engines with `--environment_type=EXTERNAL`. Takes `--service_port=PORT`.

Beam's own pool starts `python` from PATH, which outside the environment is another Python: its workers die in silence.
It also shares a port with an older pool, which then gets half of the requests.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from configs.errors import UserError

DEFAULT_PORT = 50000


def main() -> None:
    """Serve until SIGINT or SIGTERM, then end the workers."""
    port = argparse.ArgumentParser(prog="worker_pool", description="Start workers of a Beam engine on this node.")
    port.add_argument("--service_port", type=int, default=DEFAULT_PORT)
    try:
        serve(port.parse_args().service_port)
    except UserError as error:
        sys.exit(f"error: {error}")


def serve(port: int) -> None:
    """Serve at the port. Raises `UserError` if another process listens there, or if the pool finds no Python."""
    folder = Path(sys.executable).parent
    if not (folder / "python").exists():
        fix = "make a virtual environment (python3 -m venv), and install this package in it"
        raise UserError("the folder of this Python has no `python`, which Beam starts", place=str(folder), fix=fix)
    _refuse_taken(port)
    os.environ["PATH"] = os.pathsep.join((str(folder), os.environ.get("PATH", "")))
    os.environ["PYTHONSAFEPATH"] = "1"  # no file in the working directory hides this package
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by exit handlers, Beam ends the workers
    from apache_beam.runners.worker import worker_pool_main

    worker_pool_main.main([f"--service_port={port}"])


def _refuse_taken(port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(("", port))
    except OSError as error:
        fix = "end the old pool, or choose another --service_port and --environment_config"
        raise UserError(f"the port is not free: {error.strerror}", place=str(port), fix=fix) from error


if __name__ == "__main__":
    main()
