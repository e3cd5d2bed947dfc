"""Record signals instead of raising KeyboardInterrupt, which Python drops if it arrives during a fork."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

HANG_UP_S = 0.1  # the kernel takes a terminal away after it has sent SIGHUP


@contextmanager
def note_signals(numbers: Sequence[signal.Signals], received: list[signal.Signals]) -> Iterator[None]:
    """Within the block, append these signals to `received` instead of running their handlers.

    SIGHUP is left alone if it is ignored, as under nohup. It is not recorded if it says that the console has vanished,
    because a run survives its console; a scheduler's SIGHUP is.
    """
    had_console = has_console()

    def note(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP and had_console:
            time.sleep(HANG_UP_S)
            if not has_console():
                return
        received.append(signal.Signals(number))

    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else set()
    before = {number: signal.signal(number, note) for number in numbers if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def has_console() -> bool:
    """Return whether this process has a controlling terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
