"""Ranges of the global order's rows that are passed over after a fault, and the cursor's way past them."""

from __future__ import annotations

from collections.abc import Sequence

RowRange = tuple[int, int]  # cursors: the first row, and the first after them


def with_range(ranges: Sequence[RowRange], new: RowRange) -> list[RowRange]:
    """Ascending ranges with one more; what touches or overlaps becomes one."""
    merged: list[RowRange] = []
    for first, after in sorted([*ranges, new]):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(after, merged[-1][1]))
        else:
            merged.append((first, after))
    return merged


def past(cursor: int, ranges: Sequence[RowRange]) -> int:
    """The first row from `cursor` on that is in none of the ascending ranges."""
    for first, after in ranges:
        if first <= cursor < after:
            cursor = after
    return cursor
