"""Cut a stream into consecutive parts of about one size, in a way that can resume at any part."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


def cut_evenly(stream: Iterable[T], size_of: Callable[[T], int], usual: int) -> Iterator[tuple[list[T], bool]]:
    """Yield the stream in parts, each with whether it is the last one. There is at least one part, which can be empty.

    A part ends with the item with which its size reaches `usual`, if what follows is at least half of that: no part is
    smaller, unless it is the only one. So the end of a part depends only on the items from its beginning on.
    """
    part: list[T] = []
    size = end = full = 0  # of the part so far; the number of items that fill it, 0 if it is not full, and their size
    for item in stream:
        part.append(item)
        size += size_of(item)
        if not end and size >= usual:
            end, full = len(part), size
        while end and 2 * (size - full) >= usual:
            yield part[:end], False
            part, size = part[end:], size - full
            sizes = list(accumulate(map(size_of, part)))
            place = bisect_left(sizes, usual)
            end, full = (place + 1, sizes[place]) if place < len(sizes) else (0, 0)
    yield part, True
