"""Record signals instead of raising KeyboardInterrupt, which Python drops if it arrives during a fork."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def note_signals(numbers: Sequence[signal.Signals], received: list[signal.Signals]) -> Iterator[None]:
    """Within the block, append these signals to `received` instead of running their handlers."""
    before = {number: signal.signal(number, lambda n, _: received.append(signal.Signals(n))) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
