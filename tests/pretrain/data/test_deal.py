from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from pretrain.data.deal import deal, gradient_accumulation_steps


def test_accumulation_is_rounded_up() -> None:
    assert gradient_accumulation_steps(256, 8, 32) == 1
    assert gradient_accumulation_steps(257, 8, 32) == 2
    assert gradient_accumulation_steps(1, 8, 32) == 1


@given(
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=80),
    world_size=st.integers(1, 6),
    micro_batch_size=st.integers(1, 20),
)
def test_row_counts_are_equal_and_fit(lengths: list[int], world_size: int, micro_batch_size: int) -> None:
    accumulation = gradient_accumulation_steps(len(lengths), world_size, micro_batch_size)
    homes = deal(np.array(lengths), world_size, micro_batch_size)
    rows_of = np.bincount(homes, minlength=world_size * accumulation).reshape(world_size, accumulation)
    assert rows_of.size == world_size * accumulation
    assert rows_of.max() <= micro_batch_size
    assert np.ptp(rows_of) <= 1
    assert np.ptp(rows_of.sum(axis=1)) <= 1


def test_deal_is_the_longest_first_rule() -> None:
    # Two ranks: 9 | 8, then the longer of the next two to the lighter rank: 9 6 | 8 7; equal, so 9 6 5 | 8 7 4.
    assert deal(np.array([4, 9, 8, 5, 6, 7]), 2, 3).tolist() == [1, 0, 1, 0, 0, 1]


def test_tokens_are_balanced() -> None:
    generator = np.random.default_rng(0)
    lengths = np.where(generator.random(8 * 32) < 0.9, 128, generator.integers(8, 129, 8 * 32))
    tokens_of = np.bincount(deal(lengths, 8, 32), weights=lengths)
    assert tokens_of.max() / tokens_of.mean() < 1.005
    in_order = lengths.reshape(8, 32).sum(axis=1)
    assert in_order.max() / in_order.mean() > 1.02  # what dealing without looking would give
