"""How far the workers are: each tells it through a small file of its own, the driver adds them up.

Beam shows nothing of a running bundle, and a work item may take hours. The same visits tell a worker that runs inside
the driver's process to stop.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from preprocessing.sources import Meter

_SUFFIX = ".progress"
_TELL_EVERY_S = 0.25

stop_requested = threading.Event()  # of this process


class StoppedError(Exception):
    """The driver asked this worker to stop."""


@dataclass(frozen=True)
class Progress:
    """Where a preparation is."""

    stage: str  # "vocabulary" or "groups"
    bytes_read: int  # of the input files, as stored
    bytes_total: int
    documents: int  # read, dropped ones included
    groups: int  # finished
    seconds: float  # since the preparation began


class Monitor:
    """One worker's counts since it began."""

    def __init__(self, folder: Path) -> None:
        self.meter = Meter()
        self.documents = 0
        self.groups = 0
        self._file = folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        self._next_s = 0.0

    def visit(self) -> None:
        """Tell the counts if it is time to; raises `StoppedError` when this worker shall stop."""
        if stop_requested.is_set():
            raise StoppedError
        if time.monotonic() >= self._next_s:
            self.tell()

    def tell(self) -> None:
        """Write the counts where the driver finds them."""
        fresh = self._file.with_suffix(".fresh")
        with suppress(FileNotFoundError):  # the last share has removed the folder already: nobody asks any more
            fresh.write_text(json.dumps([self.meter.bytes, self.documents, self.groups]))
            os.replace(fresh, self._file)
        self._next_s = time.monotonic() + _TELL_EVERY_S


def sum_up(folder: Path) -> tuple[int, int, int]:
    """Bytes, documents and groups of all workers that tell in `folder`."""
    counts = list(_read(folder))
    return sum(count[0] for count in counts), sum(count[1] for count in counts), sum(count[2] for count in counts)


def forget(folder: Path) -> None:
    """Remove what workers of an earlier stage told."""
    for file in folder.glob(f"*{_SUFFIX}"):
        file.unlink()


def _read(folder: Path) -> Iterator[list[int]]:
    for file in folder.glob(f"*{_SUFFIX}"):
        yield json.loads(file.read_text())
