"""Progress reports: each worker writes its counts to its own small file, and the driver adds them up.

Beam reports nothing about a running bundle, and a work item can take hours. The same calls tell a worker that runs
inside the driver's process to stop.
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
    """The progress of a preparation."""

    stage: str  # "input", "duplicates", "vocabulary", or "groups"
    bytes_read: int  # of the input files, as stored
    bytes_total: int
    documents: int  # read, dropped ones included
    groups: int  # finished
    seconds: float  # since the preparation began


class Monitor:
    """The counts of one worker since it started."""

    def __init__(self, run: Store) -> None:
        self.meter = ReadCounter()
        self.documents = 0
        self.groups = 0
        self._run = run
        self._name = f"{uuid.uuid4().hex}{_SUFFIX}"
        self._next_s = 0.0

    def visit(self) -> None:
        """Report the counts if a report is due. Raises `StoppedError` when this worker must stop."""
        if stop_requested.is_set():
            raise StoppedError
        if time.monotonic() >= self._next_s:
            self.tell()

    def tell(self) -> None:
        """Write the counts to this worker's file, which the driver reads."""
        with suppress(FileNotFoundError, UserError):  # the last share removed the folder, or the store does not respond
            self._run.note(self._name, json.dumps([self.meter.bytes, self.documents, self.groups]))
        self._next_s = time.monotonic() + self._run.pace_s


def sum_up(run: Store) -> tuple[int, int, int]:
    """Return the total bytes, documents and groups of all workers of a run."""
    counts = list(_read(run))
    return sum(count[0] for count in counts), sum(count[1] for count in counts), sum(count[2] for count in counts)


def forget(run: Store) -> None:
    """Remove the reports of the workers of an earlier stage."""
    for name in run.names():
        if name.endswith(_SUFFIX):
            run.remove(name)


def _read(run: Store) -> Iterator[list[int]]:
    for name in run.names():
        content = run.read(name) if name.endswith(_SUFFIX) else None
        with suppress(ValueError):  # the file is incomplete
            yield json.loads(content or b"[0, 0, 0]")
