"""Servers of engines, each a process of a test: started, awaited, and killed with its children."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


@contextmanager
def running(*argv: str, folder: Path | None = None, **variables: str) -> Iterator[psutil.Popen]:
    """A server in a folder, with changed variables; killed with its children at the end."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # Beam's pool starts `python`
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "PATH": path, **variables}
    process = psutil.Popen([sys.executable, "-m", *argv], env=environment, cwd=folder, **quiet)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):  # a test has killed it
            for child in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):  # it ends just now
                    child.kill()
        process.wait()


def await_file(path: Path) -> str:
    end = time.monotonic() + 60
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)
    return path.read_text()


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        return int(server.getsockname()[1])


def await_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        with suppress(ConnectionRefusedError), socket.create_connection(("localhost", port)):
            return
        assert time.monotonic() < end, f"nobody listens at {port}"
        time.sleep(0.05)
