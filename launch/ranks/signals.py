"""Signals that are noted, where a KeyboardInterrupt could be lost: Python drops one that comes while it forks."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def noted(numbers: Sequence[signal.Signals]) -> Iterator[list[int]]:
    """Collect these signals within the block, instead of what they did before."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda n, _: received.append(n)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
