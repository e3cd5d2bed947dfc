"""Progress reports: each worker writes its counts to its own small file, and the driver adds them up.

Beam reports nothing about a running bundle, and a work item can take hours. The same calls tell a worker that runs
inside the driver's process to stop.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter
from preprocessing.storage import Store

_SUFFIX = ".progress"
_STOP = "stop"  # a file that tells workers of other processes and machines to stop

stop_requested = threading.Event()  # of this process


class StoppedError(Exception):
    """The driver asked this worker to stop."""


@dataclass(frozen=True)
class Progress:
    """The progress of a preparation."""

    stage: str  # "input", "unpacking", "cleaning", "duplicates", "vocabulary", or "groups"
    bytes_read: int  # of the input files, as stored
    bytes_total: int
    documents: int  # read, dropped ones included
    groups: int  # finished
    seconds: float  # since the preparation began
    phase: int = 1  # number of the stage, and of all stages
    phases: int = 1
    expected: str = ""  # what the preparation is expected to take


@dataclass(frozen=True)
class Report:
    """What one worker says about itself, a few times per second."""

    host: str
    pid: int
    bytes: int  # of the input read since it started
    documents: int
    groups: int
    visits: int  # grows while the worker makes progress
    place: str  # the document that it read last; "": it has no work


class Monitor:
    """The counts of one worker since it started."""

    def __init__(self, run: Store) -> None:
        self.meter = ReadCounter()
        self.documents = 0
        self.groups = 0
        self.place = ""  # the document that was read last, for messages
        self._visits = 0
        self._run = run
        self._name = f"{uuid.uuid4().hex}{_SUFFIX}"
        self._next_s = 0.0

    def visit(self) -> None:
        """Report the counts if a report is due. Raises `StoppedError` when this worker must stop."""
        if stop_requested.is_set():
            raise StoppedError
        self._visits += 1
        if time.monotonic() >= self._next_s:
            self.tell()
            if self._is_stopped_elsewhere():
                raise StoppedError

    def _is_stopped_elsewhere(self) -> bool:
        try:
            return self._run.read(_STOP) is not None
        except (OSError, UserError):  # the store is silent
            return False

    def tell(self) -> None:
        """Write the counts to this worker's file, which the driver reads."""
        counts = (self.meter.bytes, self.documents, self.groups, self._visits)
        report = Report(socket.gethostname(), os.getpid(), *counts, self.place)
        with suppress(OSError, UserError):  # the last share removed the folder, the disk is full, the store is silent
            self._run.note(self._name, json.dumps(asdict(report)))
        self._next_s = time.monotonic() + self._run.pace_s


def read_reports(run: Store) -> list[Report]:
    """Return the newest report of each worker of a run."""
    reports = []
    for name in run.names():
        with suppress(ValueError, TypeError, UserError):  # the file is incomplete, or damaged
            content = run.read(name) if name.endswith(_SUFFIX) else None
            reports.append(Report(**json.loads(content or b"")))
    return reports


def request_stop(run: Store, *, elsewhere: bool) -> None:
    """Make the workers of this process stop at their next `visit`; those elsewhere too, within the store's pace."""
    stop_requested.set()
    if elsewhere:
        with suppress(OSError, UserError):  # the disk is full, or the store is silent
            run.note(_STOP, "")


def forget_stop(run: Store) -> None:
    """Let the workers of the next stage work."""
    run.remove(_STOP)
    stop_requested.clear()


def forget(run: Store) -> None:
    """Remove the reports of the workers of an earlier stage."""
    for name in run.names():
        if name.endswith(_SUFFIX):
            run.remove(name)
