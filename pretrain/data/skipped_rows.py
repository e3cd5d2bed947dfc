"""Ranges of rows in the global order that are skipped after a fault, and cursors that avoid them."""

from __future__ import annotations

from collections.abc import Sequence

RowRange = tuple[int, int]  # cursors: the first row, and the first after them


def with_range(ranges: Sequence[RowRange], new: RowRange) -> list[RowRange]:
    """Add a range to ascending ranges; ranges that touch or overlap are merged."""
    merged: list[RowRange] = []
    for first, after in sorted([*ranges, new]):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(after, merged[-1][1]))
        else:
            merged.append((first, after))
    return merged


def past(cursor: int, ranges: Sequence[RowRange]) -> int:
    """Return the first row from `cursor` on that is in none of the ascending ranges."""
    for first, after in ranges:
        if first <= cursor < after:
            cursor = after
    return cursor
