"""Ranges of skipped rows."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, strategies as st

from pretrain.data.skipped_rows import past, with_range

RANGES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda pair: (pair[0], sum(pair))), max_size=6)


@given(RANGES, st.integers(0, 80))
def test_past_returns_the_first_row_outside_all_ranges(given_ranges: list[tuple[int, int]], cursor: int) -> None:
    ranges: list[tuple[int, int]] = []
    for new in given_ranges:
        ranges = with_range(ranges, new)
    left_out = {row for first, after in given_ranges for row in range(first, after)}
    assert {row for first, after in ranges for row in range(first, after)} == left_out
    assert all(after < first for (_, after), (first, _) in pairwise(ranges))
    expected = cursor
    while expected in left_out:
        expected += 1
    assert past(cursor, ranges) == expected
