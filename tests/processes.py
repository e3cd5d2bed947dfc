"""Processes by what they were started with: so those are found too whose parents have gone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil


def started_with(*assignments: str) -> list[psutil.Process]:
    """All other processes that have these `NAME=value` in the environment they were started with."""
    own, wanted = os.getpid(), set(assignments)
    return [process for process in psutil.process_iter() if process.pid != own and wanted <= _environment(process)]


def _environment(process: psutil.Process) -> set[str]:
    """Nothing for one that has gone."""
    with suppress(OSError):
        return set(Path(f"/proc/{process.pid}/environ").read_text(errors="replace").split("\0"))
    return set()
