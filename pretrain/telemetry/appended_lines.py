"""Append lines to a file; they are kept in memory while the disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from configs.files import not_through_links


class AppendedLines:
    """Appends lines to a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = not_through_links(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._waiting = bytearray()

    def add(self, line: str) -> None:
        """Add a line, which the next `write` writes."""
        self._waiting += line.encode() + b"\n"

    def write(self, *, durably: bool = False) -> None:
        """Write all pending lines. After an `OSError`, exactly the unwritten bytes stay pending."""
        while self._waiting:
            del self._waiting[: os.write(self._descriptor, self._waiting)]
        if durably:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
