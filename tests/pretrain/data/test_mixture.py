from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pretrain.data.mixture import BLOCK_ROWS, Mixture, slots_of
from pretrain.data.order import GlobalOrder

ROWS = ([[900, 100], [700]], [[50]], [[3000, 1, 400]])  # passes and shards of three data sets
SHARDS = (3, 1, 3)
WEIGHTS = [0.7, 0.05, 0.25]


def orders(window: int = 256) -> list[GlobalOrder]:
    return [GlobalOrder(rows, seed=3, shuffle_window_rows=window, source=number) for number, rows in enumerate(ROWS)]


def mixture(seed: int = 3) -> Mixture:
    return Mixture(orders(), WEIGHTS, seed=seed)


def rows_of(mixed: Mixture, cursor: int, count: int) -> list[tuple[int, int]]:
    shards, rows = mixed.rows(cursor, count)
    return list(zip(shards.tolist(), rows.tolist(), strict=True))


@settings(max_examples=30, deadline=None)
@given(cursor=st.integers(0, 3 * BLOCK_ROWS), count=st.integers(1, 500))
def test_mixture_keeps_each_data_sets_order_from_any_cursor(cursor: int, count: int) -> None:
    shards, rows = mixture().rows(cursor, count)
    owners = np.repeat(np.arange(3), SHARDS)[shards]
    for number, order in enumerate(orders()):
        begin, mine = mixture().cursor_of(number, cursor), np.flatnonzero(owners == number)
        own_shards, own_rows = order.rows(begin, len(mine))
        assert (shards[mine] - [0, 3, 4][number]).tolist() == own_shards.tolist()
        assert rows[mine].tolist() == own_rows.tolist()
        assert mixture().cursor_of(number, cursor + count) == begin + len(mine)


def test_consecutive_batches_have_no_gap() -> None:
    whole = rows_of(mixture(), BLOCK_ROWS - 100, 200)
    assert whole == rows_of(mixture(), BLOCK_ROWS - 100, 70) + rows_of(mixture(), BLOCK_ROWS - 30, 130)
    assert whole != rows_of(mixture(seed=4), BLOCK_ROWS - 100, 200)


def test_shares_are_exact_per_block_and_close_per_batch() -> None:
    mixed = mixture()
    for block in (0, 7):
        counts = [
            mixed.cursor_of(number, (block + 1) * BLOCK_ROWS) - mixed.cursor_of(number, block * BLOCK_ROWS)
            for number in range(3)
        ]
        assert counts == mixed.slots
    assert mixed.slots == [45874, 3278, 16384]
    shards, _ = mixed.rows(10_000, 4096)
    share = (shards < 3).mean()
    assert abs(share - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 4096)


def test_no_row_repeats_before_its_data_set_is_exhausted() -> None:
    mixed = mixture()
    end = next(cursor for cursor in range(BLOCK_ROWS) if mixed.cursor_of(1, cursor) == 50)
    small = Counter(pair for pair in rows_of(mixed, 0, end) if pair[0] == 3)
    assert set(small.values()) == {1}
    assert len(small) == 50


def test_shards_are_those_of_the_rows_windows() -> None:
    mixed = mixture()
    for cursor, count in ((0, 64), (900, 500), (BLOCK_ROWS - 10, 64)):
        shards, _ = mixed.rows(cursor, count)
        named = mixed.shards(cursor, count)
        assert set(shards.tolist()) <= set(named)
        assert len(named) == len(set(named))


@pytest.mark.parametrize("weights", [[1.0], [1, 1, 1], [1e-9, 1.0], [5, 3, 2, 1e6]])
def test_slots_fill_the_block_and_every_data_set_has_one(weights: list[float]) -> None:
    slots = slots_of(weights)
    assert sum(slots) == BLOCK_ROWS
    assert min(slots) >= 1
    for slot, weight in zip(slots, weights, strict=True):
        assert abs(slot - BLOCK_ROWS * weight / sum(weights)) <= len(weights)


def test_large_cursor_is_equally_fast() -> None:
    mixed = Mixture(
        [GlobalOrder([[100_000] * 10_000], seed=0, shuffle_window_rows=1 << 16, source=number) for number in range(2)],
        [3.0, 1.0],
        seed=0,
    )
    shards, rows = mixed.rows(2_000_000_000, 512)
    assert (shards.max() < 20_000, rows.max() < 100_000) == (True, True)
    assert mixed.cursor_of(0, 2_000_000_000) == pytest.approx(1.5e9, abs=BLOCK_ROWS)
