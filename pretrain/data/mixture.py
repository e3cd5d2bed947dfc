"""Mix several data sets: each has its share of the rows, in a fixed endless order.

The mixture's rows are divided into blocks of 65,536. In each block, every data set has the same number of slots: its
weight's share, rounded to the nearest integer, at least one. A random permutation keyed by the seed and the block
places the slots. A data set fills its slots with consecutive rows of its own global order. The number of its rows
before a cursor is therefore arithmetic, and any cursor is reached in O(1).

A mixture has no epochs: each data set has its own and begins the next one when it ends. No row of a data set is
repeated before all of its rows have been used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pretrain.data.order import GlobalOrder, Int64Array, permutation

BLOCK_ROWS = 1 << 16
SLOTS = 2  # stream of random words, in addition to those of `order`


class Mixture:
    """The rows of several orders, mixed by weight. Shards are numbered consecutively through all orders."""

    def __init__(self, orders: Sequence[GlobalOrder], weights: Sequence[float], *, seed: int) -> None:
        self.slots = slots_of(weights)
        self._orders = orders
        self._first_shards = np.cumsum([0, *(order.shard_count for order in orders)]).tolist()
        self._slot_ends = np.cumsum(self.slots)
        self._seed = seed
        self._block = lru_cache(maxsize=4)(self._owners_of_block)  # the blocks of a step's rows

    def rows(self, cursor: int, count: int) -> tuple[Int64Array, Int64Array]:
        """Return the shard number, and the row's index in it, of `count` rows from `cursor` on; shape [count] each."""
        shards, rows = np.empty(count, np.int64), np.empty(count, np.int64)
        owners = self._owners(cursor, count)
        for number, order in enumerate(self._orders):
            mine = np.flatnonzero(owners == number)
            of_order, rows[mine] = order.rows(self.cursor_of(number, cursor), len(mine))
            shards[mine] = self._first_shards[number] + of_order
        return shards, rows

    def shards(self, cursor: int, count: int) -> list[int]:
        """Return the shards of all windows that contain the `count` rows from `cursor` on, data set by data set."""
        found: list[int] = []
        for number, (order, first) in enumerate(zip(self._orders, self._first_shards, strict=False)):
            begin, end = (self.cursor_of(number, place) for place in (cursor, cursor + count))
            found += [first + shard for shard in order.shards(begin, end - begin)]
        return found

    def cursor_of(self, number: int, cursor: int) -> int:
        """Return how many of the first `cursor` rows belong to order `number`: that order's own cursor."""
        block, slot = divmod(cursor, BLOCK_ROWS)
        return block * self.slots[number] + int((self._block(block)[:slot] == number).sum())

    def _owners(self, cursor: int, count: int) -> Int64Array:
        """Return the number of each row's order; shape [count]."""
        first, last = cursor // BLOCK_ROWS, (cursor + count - 1) // BLOCK_ROWS
        blocks = np.concatenate([self._block(block) for block in range(first, last + 1)])
        return blocks[cursor - first * BLOCK_ROWS :][:count]

    def _owners_of_block(self, block: int) -> Int64Array:
        """Return the number of the order that fills each slot of a block; shape [BLOCK_ROWS]."""
        permuted = permutation(BLOCK_ROWS, self._seed, 0, SLOTS, 0, block)
        return np.searchsorted(self._slot_ends, permuted, side="right")


def slots_of(weights: Sequence[float]) -> list[int]:
    """Return the number of slots per block for each weight, by the largest-remainder method; at least one each."""
    assert all(weight > 0 for weight in weights)
    spare = BLOCK_ROWS - len(weights)
    exact = [1 + spare * weight / sum(weights) for weight in weights]
    slots = [int(share) for share in exact]
    by_remainder = sorted(range(len(slots)), key=lambda place: (slots[place] - exact[place], place))
    for place in by_remainder[: BLOCK_ROWS - sum(slots)]:
        slots[place] += 1
    return slots
