"""Output on a console that can stop taking it: a paused terminal (Ctrl-S), an unread pipe, a stalled disk.

A thread writes, so that the supervisor never waits for the console. What exceeds `MOST_BYTES` meanwhile is not shown;
the ranks' logs have it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from contextlib import suppress

STDOUT, STDERR = 1, 2
MOST_BYTES = 1 << 20
STUCK_S = 2.0  # at the end: a console that takes nothing for this time gets no more


class Console:
    """Standard output and standard error of this process, in the order of the calls."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending_bytes = 0
        self._thread: threading.Thread | None = None

    def show(self, text: bytes) -> None:
        """Write to standard output, at some time."""
        self._add(STDOUT, text)

    def say(self, text: str) -> None:
        """Write a line to standard error, at some time."""
        if text:
            self._add(STDERR, (text + "\n").encode(errors="replace"))

    def drain(self) -> None:
        """Wait until all is written, or until the console has taken nothing for `STUCK_S`."""
        left, deadline = self._pending_bytes, time.monotonic() + STUCK_S
        while self._pending_bytes and time.monotonic() < deadline:
            time.sleep(0.01)
            if self._pending_bytes < left:
                left, deadline = self._pending_bytes, time.monotonic() + STUCK_S

    def _add(self, descriptor: int, text: bytes) -> None:
        with self._lock:
            if self._pending_bytes + len(text) > MOST_BYTES:
                return
            self._pending_bytes += len(text)
        self._waiting.put((descriptor, text))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="console", daemon=True)
            self._thread.start()

    def _write(self) -> None:
        while True:
            descriptor, text = self._waiting.get()
            while text:
                written = len(text)
                with suppress(OSError):  # a closed pipe or a lost terminal: as if it was written
                    written = os.write(descriptor, text)
                text = text[written:]
                with self._lock:
                    self._pending_bytes -= written
