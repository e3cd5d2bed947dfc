"""Several data sets as one: each with its share of the rows, in a fixed order without end.

The mixture's rows come in blocks of 65,536. Of each block, every data set has the same fixed number of slots, its
weight's share rounded to the nearest, one at least; which slots they are is a random permutation keyed by the seed and
the block. Its slots are filled with its own global order, one row after another. How many rows of it lie before a
cursor is thus arithmetic, and any cursor is reached in O(1).

A mixture has no epoch: each data set has its own, begins its next one when it ends, and none of its rows comes again
before all of them have come.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pretrain.data.order import GlobalOrder, Int64Array, permutation

BLOCK_ROWS = 1 << 16
SLOTS = 2  # stream of random words, beside those of `order`


class Mixture:
    """The rows of several orders, mixed by weight. Shards are numbered through all orders, the first order's first."""

    def __init__(self, orders: Sequence[GlobalOrder], weights: Sequence[float], *, seed: int) -> None:
        self.slots = slots_of(weights)
        self._orders = orders
        self._first_shards = np.cumsum([0, *(order.shard_count for order in orders)]).tolist()
        self._slot_ends = np.cumsum(self.slots)
        self._seed = seed
        self._block = lru_cache(maxsize=4)(self._owners_of_block)  # those of a step's rows

    def rows(self, cursor: int, count: int) -> tuple[Int64Array, Int64Array]:
        """The `count` rows from `cursor` on: the number of each one's shard, and its place there; [count] each."""
        shards, rows = np.empty(count, np.int64), np.empty(count, np.int64)
        owners = self._owners(cursor, count)
        for number, order in enumerate(self._orders):
            mine = np.flatnonzero(owners == number)
            of_order, rows[mine] = order.rows(self.cursor_of(number, cursor), len(mine))
            shards[mine] = self._first_shards[number] + of_order
        return shards, rows

    def shards(self, cursor: int, count: int) -> list[int]:
        """The shards of all windows that the `count` rows from `cursor` on lie in, data set by data set."""
        found: list[int] = []
        for number, (order, first) in enumerate(zip(self._orders, self._first_shards, strict=False)):
            begin, end = (self.cursor_of(number, place) for place in (cursor, cursor + count))
            found += [first + shard for shard in order.shards(begin, end - begin)]
        return found

    def cursor_of(self, number: int, cursor: int) -> int:
        """How many of the first `cursor` rows are of the order `number`: that order's own cursor."""
        block, slot = divmod(cursor, BLOCK_ROWS)
        return block * self.slots[number] + int((self._block(block)[:slot] == number).sum())

    def _owners(self, cursor: int, count: int) -> Int64Array:
        """Which order each row is of; [count]."""
        first, last = cursor // BLOCK_ROWS, (cursor + count - 1) // BLOCK_ROWS
        blocks = np.concatenate([self._block(block) for block in range(first, last + 1)])
        return blocks[cursor - first * BLOCK_ROWS :][:count]

    def _owners_of_block(self, block: int) -> Int64Array:
        """The order that each slot of a block is filled from; [BLOCK_ROWS]."""
        permuted = permutation(BLOCK_ROWS, self._seed, 0, SLOTS, 0, block)
        return np.searchsorted(self._slot_ends, permuted, side="right")


def slots_of(weights: Sequence[float]) -> list[int]:
    """Slots of a block for each of these weights, by the method of the largest remainder; one at least."""
    assert all(weight > 0 for weight in weights)
    spare = BLOCK_ROWS - len(weights)
    exact = [1 + spare * weight / sum(weights) for weight in weights]
    slots = [int(share) for share in exact]
    by_remainder = sorted(range(len(slots)), key=lambda place: (slots[place] - exact[place], place))
    for place in by_remainder[: BLOCK_ROWS - sum(slots)]:
        slots[place] += 1
    return slots
