"""Python's garbage collection during training: on all ranks after the same steps.

A collection stops a rank for milliseconds. If each rank collects at a time of its own, all ranks wait for each of them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_STEPS = 100


@contextmanager
def collected_between_steps() -> Iterator[Callable[[int], None]]:
    """Turn automatic collections off in the block. Yields a function to call after each step with the step's number.

    Objects that exist at the beginning, such as modules and the model, are not examined again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield _collect_after
    finally:
        gc.enable()
        gc.unfreeze()


def _collect_after(step: int) -> None:
    if step % EVERY_STEPS == 0:
        gc.collect()
