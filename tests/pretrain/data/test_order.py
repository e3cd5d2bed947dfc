from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pretrain.data.order import ROWS, SHARDS, GlobalOrder, Int64Array, permutation

Row = tuple[int, int]

GOLDEN_ROWS = [9, 2, 4, 3, 0, 7, 1, 5, 8, 6]
GOLDEN_SHARDS = [4, 3, 5, 2, 1, 0, 6]
GOLDEN_ORDER = [
    *((1, 2), (1, 1), (0, 0), (1, 0)),  # epoch 0 reads pass 0 (shards 0 and 1), windows of 4 rows
    *((0, 1), (0, 2), (0, 3), (0, 4)),
    *((2, 0), (2, 2), (2, 1), (2, 3)),  # epoch 1, pass 1
    *((3, 0), (3, 3), (3, 2), (3, 1)),
    (4, 0),
]


def rows_of(order: GlobalOrder, cursor: int, count: int) -> list[Row]:
    shards, rows = order.rows(cursor, count)
    return list(zip(shards.tolist(), rows.tolist(), strict=True))


passes = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=3).filter(
    lambda found: all(sum(rows) for rows in found)
)


@given(passes=passes, seed=st.integers(0, 2**63 - 1), window=st.integers(1, 50))
def test_epoch_has_every_row_once_and_the_next_epoch_follows(passes: list[list[int]], seed: int, window: int) -> None:
    order = GlobalOrder(passes, seed=seed, shuffle_window_rows=window)
    cursor, first_shard = 0, 0
    for epoch, rows in enumerate([*passes, passes[0]]):
        first_shard = 0 if epoch == len(passes) else first_shard
        expected = [(first_shard + shard, row) for shard, count in enumerate(rows) for row in range(count)]
        assert sorted(rows_of(order, cursor, len(expected))) == expected
        assert order.locate(cursor) == (epoch, 0)
        assert order.locate(cursor + len(expected) - 1) == (epoch, len(expected) - 1)
        cursor, first_shard = cursor + len(expected), first_shard + len(rows)


@given(passes=passes, window=st.integers(1, 50), cursor=st.integers(0, 200), count=st.integers(1, 60))
def test_rows_from_any_cursor_continue_the_rows_before(
    passes: list[list[int]], window: int, cursor: int, count: int
) -> None:
    order = GlobalOrder(passes, seed=1, shuffle_window_rows=window)
    assert rows_of(order, cursor, count) == rows_of(order, 0, cursor + count)[cursor:]


def test_rows_stay_within_their_window() -> None:
    rows_of_shards = [30, 50, 20, 40]
    order = GlobalOrder([rows_of_shards], seed=3, shuffle_window_rows=25)
    shards = permutation(4, 3, 0, SHARDS, 0).tolist()
    concatenated = [(shard, row) for shard in shards for row in range(rows_of_shards[shard])]
    for window in range(0, 140, 25):
        found = rows_of(order, window, min(25, 140 - window))
        assert sorted(found) == sorted(concatenated[window : window + 25])
        assert found != concatenated[window : window + 25]


def test_orders_differ_by_seed_and_epoch() -> None:
    order, other = (GlobalOrder([[100, 100]], seed=seed, shuffle_window_rows=64) for seed in (1, 2))
    assert rows_of(order, 0, 200) != rows_of(other, 0, 200)
    assert rows_of(order, 0, 200) != rows_of(order, 200, 200)


def test_order_matches_stored_values() -> None:
    """A change of these values changes the rows of every resumed run: it needs a new checkpoint format version."""
    assert permutation(10, 42, 0, ROWS, 3, 5).tolist() == GOLDEN_ROWS
    assert permutation(7, 2**62, 0, SHARDS, 0).tolist() == GOLDEN_SHARDS
    order = GlobalOrder([[5, 3], [4, 4, 1]], seed=7, shuffle_window_rows=4)
    assert rows_of(order, 0, 17) == GOLDEN_ORDER


@pytest.mark.parametrize("count", [1, 2, 3, 64, 1000])
def test_permutation_has_each_number_once(count: int) -> None:
    found = permutation(count, 5, 0, ROWS, 0)
    assert sorted(found.tolist()) == list(range(count))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 0


def test_permutations_are_uniform() -> None:
    counts = np.zeros((6, 6))
    for seed in range(3000):
        counts[np.arange(6), permutation(6, seed, 0, ROWS, 0)] += 1
    deviation = np.sqrt(3000 * (1 / 6) * (5 / 6))
    assert np.abs(counts - 500).max() < 4 * deviation


def test_start_in_a_billion_rows_draws_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    rows_of_shards = [100_000 + shard for shard in range(10_000)]
    drawn: list[int] = []

    def draw(count: int, *key: int) -> Int64Array:
        drawn.append(count)
        return permutation(count, *key)

    monkeypatch.setattr("pretrain.data.order.permutation", draw)
    order = GlobalOrder([rows_of_shards] * 3, seed=11, shuffle_window_rows=1 << 16)
    shards, rows = order.rows(2_500_000_000, 256)
    assert sorted(drawn) == [10_000, 1 << 16]  # the epoch's shards, and one window
    assert set((shards // 10_000).tolist()) == {2}
    assert bool((rows < np.array(rows_of_shards)[shards % 10_000]).all())


def test_window_is_drawn_once_for_any_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, ...]] = []

    def draw(*key: int) -> Int64Array:
        drawn.append(key)
        return permutation(*key)

    monkeypatch.setattr("pretrain.data.order.permutation", draw)
    order = GlobalOrder([[3, 4, 5], [6, 6]], seed=1, shuffle_window_rows=1 << 20)
    for cursor in range(0, 12, 4):
        assert sorted(order.shards(cursor, 4 + (1 << 20))) == [0, 1, 2, 3, 4]
        order.rows(cursor, 4)
    assert drawn.count((12, 1, 0, ROWS, 0, 0)) == 1
    assert len(drawn) <= 4  # one window, and the shards of few epochs: all are then known


def test_step_one_million_of_a_billion_rows_takes_less_than_a_second() -> None:
    """Only arithmetic, no reads. The limit is a second; sorting two windows takes about 100 ms."""
    began = time.process_time()
    order = GlobalOrder([[100_000] * 10_000] * 2, seed=11, shuffle_window_rows=1 << 20)
    shards, _ = order.rows(10**6 * 4096, 4096)
    order.shards(10**6 * 4096, 4096 + (1 << 20))
    assert time.process_time() - began < 1.0
    assert len(shards) == 4096
