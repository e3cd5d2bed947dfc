"""The cost of a save, from the records of a training."""

from __future__ import annotations

from tests.benchmarks.goodput import WINDOW, costs


def test_a_save_is_compared_with_the_steps_after_it_that_have_none() -> None:
    """Steps of 0.1 s; the save after step 100 takes 2 s, and slows the next ten steps by 0.05 s each."""
    slow = range(2 * WINDOW + 1, 2 * WINDOW + 11)
    records, clock = [], 0.0
    for step in range(1, 4 * WINDOW + 1):
        save_s = 2.0 if step == 2 * WINDOW + 1 else None
        clock += 0.1 + (save_s or 0.0) + (0.05 if step in slow else 0.0)
        records.append({"step": step, "clock": clock, "save_s": save_s})
    assert costs(records, range(2 * WINDOW, 4 * WINDOW, 2 * WINDOW)) == {"held_up_s": [2.0], "added_s": [2.5]}
