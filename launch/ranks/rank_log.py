"""Rank logs: each rank appends its output to its log, and the supervisor reads it from there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.ranks.console import Console

TAIL_BYTES = 1 << 16
LAG_S = 0.5
HOLD_S = 10.0  # seconds can pass between a traceback and the end of the process
TRACEBACK = "Traceback (most recent call last)"


class RankLog:
    """The log of a rank, from the current start of the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start = self._size()

    def read(self, offset: int) -> bytes:
        """Return the content from `offset`, in bytes, to the end."""
        if not self.path.exists():
            return b""
        with self.path.open("rb") as stream:
            stream.seek(offset)
            return stream.read()

    def tail(self) -> str:
        """Return the last `TAIL_BYTES`, at most, of the output since the start."""
        return self.read(max(self.start, self._size() - TAIL_BYTES)).decode(errors="replace")

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


@dataclass(frozen=True)
class Screen:
    """Where a supervisor shows rank 0's output, and where it reports failures; `drain` waits until all is there."""

    show: Callable[[bytes], None]
    say: Callable[[str], None]
    drain: Callable[[], None] = lambda: None


class LiveOutput:
    """Show a log as it grows: after half a second or, from the first traceback on, after ten seconds.

    If rank 0 fails because it lost the connection to another rank, the delay hides its traceback: the supervisor stops
    showing output when it notices the other rank's failure. A closed console does not affect the run.
    """

    def __init__(self, log: RankLog, write: Callable[[bytes], None]) -> None:
        self.log = log
        self.write = write
        self.read_to = log.start
        self.waiting: deque[tuple[float, bytes]] = deque()  # when to show it, and the text

    def show(self, *, everything: bool = False) -> None:
        """Show the output that is due, or all of it."""
        now = time.monotonic()
        if new := self.log.read(self.read_to):
            self.read_to += len(new)
            before, traceback = _cut_at_traceback(new)
            self._await(before, now + LAG_S)
            self._await(traceback, now + HOLD_S)
        while self.waiting and (everything or self.waiting[0][0] <= now):
            self.write(self.waiting.popleft()[1])

    def _await(self, text: bytes, due: float) -> None:
        if text:
            latest = self.waiting[-1][0] if self.waiting else due
            self.waiting.append((max(due, latest), text))

    def hidden(self) -> str:
        """Return the output that was not shown."""
        unread = self.log.read(self.read_to)
        return b"".join([*(text for _, text in self.waiting), unread]).decode(errors="replace")


def last_words(output: str) -> str:
    """Return the output from the first traceback of the last 100 lines on; the last 20 lines if there is none."""
    lines = output.rstrip().splitlines()[-100:]
    tracebacks = [number for number, line in enumerate(lines) if TRACEBACK in line]
    return "\n".join(lines[tracebacks[0] :] if tracebacks else lines[-20:])


def _cut_at_traceback(text: bytes) -> tuple[bytes, bytes]:
    found = text.find(TRACEBACK.encode())
    line = text.rfind(b"\n", 0, found) + 1 if found >= 0 else len(text)
    return text[:line], text[line:]


_console = Console()
TERMINAL = Screen(_console.show, _console.say, _console.drain)
