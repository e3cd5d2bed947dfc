"""Processes by what they were started with, so that those are found too whose parents have gone; and waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil


def started_with(*assignments: str) -> list[psutil.Process]:
    """All other processes that have these `NAME=value` in the environment they were started with."""
    own, wanted = os.getpid(), set(assignments)
    return [process for process in psutil.process_iter() if process.pid != own and wanted <= _environment(process)]


def wait_until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Return when `condition` holds; fail after `timeout_s`, naming `what` was waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


def _environment(process: psutil.Process) -> set[str]:
    """Nothing for one that has gone."""
    with suppress(OSError):
        return set(Path(f"/proc/{process.pid}/environ").read_text(errors="replace").split("\0"))
    return set()
