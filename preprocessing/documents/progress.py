"""How far the workers are: each tells it through a small file of its own, the driver adds them up.

Beam shows nothing of a running bundle, and a work item may take hours. The same visits tell a worker that runs inside
the driver's process to stop.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter
from preprocessing.storage import Store

_SUFFIX = ".progress"

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

    def __init__(self, run: Store) -> None:
        self.meter = ReadCounter()
        self.documents = 0
        self.groups = 0
        self._run = run
        self._name = f"{uuid.uuid4().hex}{_SUFFIX}"
        self._next_s = 0.0

    def visit(self) -> None:
        """Tell the counts if it is time to; raises `StoppedError` when this worker shall stop."""
        if stop_requested.is_set():
            raise StoppedError
        if time.monotonic() >= self._next_s:
            self.tell()

    def tell(self) -> None:
        """Write the counts where the driver finds them."""
        with suppress(FileNotFoundError, UserError):  # the last share has removed the folder; a store is out of reach
            self._run.note(self._name, json.dumps([self.meter.bytes, self.documents, self.groups]))
        self._next_s = time.monotonic() + self._run.pace_s


def sum_up(run: Store) -> tuple[int, int, int]:
    """Bytes, documents and groups of all workers of a run."""
    counts = list(_read(run))
    return sum(count[0] for count in counts), sum(count[1] for count in counts), sum(count[2] for count in counts)


def forget(run: Store) -> None:
    """Remove what workers of an earlier stage told."""
    for name in run.names():
        if name.endswith(_SUFFIX):
            run.remove(name)


def _read(run: Store) -> Iterator[list[int]]:
    for name in run.names():
        content = run.read(name) if name.endswith(_SUFFIX) else None
        with suppress(ValueError):  # half of it is there
            yield json.loads(content or b"[0, 0, 0]")
