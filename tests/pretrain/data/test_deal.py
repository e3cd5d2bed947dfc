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
    homes, found = deal(np.array(lengths), world_size, micro_batch_size)
    assert found == accumulation
    rows_of = np.bincount(homes, minlength=world_size * accumulation).reshape(world_size, accumulation)
    assert rows_of.size == world_size * accumulation
    assert rows_of.max() <= micro_batch_size
    assert np.ptp(rows_of) <= 1
    assert np.ptp(rows_of.sum(axis=1)) <= 1


def test_deal_is_the_longest_first_rule() -> None:
    # Two ranks: 9 | 8, then the longer of the next two to the lighter rank: 9 6 | 8 7; equal, so 9 6 5 | 8 7 4.
    assert deal(np.array([4, 9, 8, 5, 6, 7]), 2, 3)[0].tolist() == [1, 0, 1, 0, 0, 1]


def test_tokens_are_balanced() -> None:
    generator = np.random.default_rng(0)
    lengths = np.where(generator.random(8 * 32) < 0.9, 128, generator.integers(8, 129, 8 * 32))
    tokens_of = np.bincount(deal(lengths, 8, 32)[0], weights=lengths)
    assert tokens_of.max() / tokens_of.mean() < 1.005
    in_order = lengths.reshape(8, 32).sum(axis=1)
    assert in_order.max() / in_order.mean() > 1.02  # what dealing without looking would give


@given(
    lengths=st.lists(st.integers(1, 512), min_size=1, max_size=80),
    world_size=st.integers(1, 6),
    micro_batch_size=st.integers(1, 20),
    micro_batch_tokens=st.integers(512, 2048),
)
def test_tokens_bound_each_micro_batch(
    lengths: list[int], world_size: int, micro_batch_size: int, micro_batch_tokens: int
) -> None:
    homes, accumulation = deal(np.array(lengths), world_size, micro_batch_size, micro_batch_tokens)
    rows_of = np.bincount(homes, minlength=world_size * accumulation)
    assert len(rows_of) == world_size * accumulation
    assert rows_of.max() <= micro_batch_size
    assert np.ptp(rows_of.reshape(world_size, accumulation).sum(axis=1)) <= 1
    assert np.bincount(homes, weights=lengths).max() <= micro_batch_tokens


def test_rows_are_packed_the_longest_first_where_there_is_room() -> None:
    homes, accumulation = deal(np.array([3, 9, 1, 6, 4, 2]), 1, 3, 10)
    assert (homes.tolist(), accumulation) == ([2, 0, 0, 1, 1, 2], 3)


def test_long_rows_among_short_ones_take_few_more_micro_batches_than_their_tokens_need() -> None:
    generator = np.random.default_rng(0)
    lengths = np.where(generator.random(512) < 0.2, 8192, generator.integers(8, 1024, 512))
    for world_size, micro_batch_tokens in ((1, 8192), (4, 32_768), (8, 16_384)):
        _, accumulation = deal(lengths, world_size, 32, micro_batch_tokens)
        assert accumulation <= 1.3 * lengths.sum() / (world_size * micro_batch_tokens) + 1
