from __future__ import annotations

import gc
import weakref

import pytest

from pretrain.garbage import EVERY_STEPS, collected_between_steps


class Cycle:
    """An object that only a collection frees."""

    def __init__(self) -> None:
        self.own = self


def test_garbage_is_collected_after_the_same_steps_only() -> None:
    with collected_between_steps() as collect:
        lost = weakref.ref(Cycle())
        spent = [Cycle() for _ in range(5_000)]  # more than the automatic collection's threshold
        spent.clear()
        for step in range(1, EVERY_STEPS):
            collect(step)
        assert lost() is not None
        collect(EVERY_STEPS)
        assert lost() is None
    assert gc.isenabled()


def test_automatic_collection_resumes_after_an_error() -> None:
    with pytest.raises(ValueError, match="lost"), collected_between_steps():
        raise ValueError("lost")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
