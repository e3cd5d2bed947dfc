"""Lines at the end of a file, which wait in memory while the disk is full."""

from __future__ import annotations

import os
from pathlib import Path


class AppendedLines:
    """Appends lines to a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._waiting = bytearray()

    def add(self, line: str) -> None:
        """One more line, to be written by the next `write`."""
        self._waiting += line.encode() + b"\n"

    def write(self, *, durably: bool = False) -> None:
        """Write what waits. After an `OSError` what could not be written waits on, to the byte."""
        while self._waiting:
            del self._waiting[: os.write(self._descriptor, self._waiting)]
        if durably:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Nothing more will be written."""
        os.close(self._descriptor)
