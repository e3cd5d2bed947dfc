"""The global order of the training rows. It depends on the seed and the cursor alone.

An epoch is one pass over the training rows, permuted on two levels: its shards, and then the concatenated rows of those
shards, window by window. Epochs follow each other without a gap; epoch e reads pass e mod `dupe_factor`. Any cursor is
reached in O(1): find its epoch and its window, then draw that window's permutation.

Permutations are drawn from the raw words of NumPy's Philox, a counter-based generator (Salmon et al. 2011), keyed by
the seed, with its counter set to (window, epoch, stream). NumPy keeps the stream of a bit generator stable (NEP 19),
and only distinct integers are sorted, so that every NumPy version on every processor computes the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

SHARDS, ROWS = 0, 1  # streams of random words
EPOCHS_AHEAD = 16  # epochs of a small data set that one look-ahead for shards can span


class GlobalOrder:
    """The endless training order of one data set's rows.

    `rows_of_passes[p][s]` is the number of rows of the s-th shard of pass p. Shards are numbered consecutively through
    all passes; a row is identified by its shard's number and its index in the shard. `source` distinguishes orders
    with the same seed.
    """

    def __init__(
        self, rows_of_passes: Sequence[Sequence[int]], *, seed: int, shuffle_window_rows: int, source: int = 0
    ) -> None:
        self._rows_of_passes = [np.asarray(rows, dtype=np.int64) for rows in rows_of_passes]
        self._first_shards = np.cumsum([0, *(len(rows) for rows in rows_of_passes)])
        self._pass_ends = np.cumsum([rows.sum() for rows in self._rows_of_passes])
        assert self._pass_ends[-1] > 0, "no rows"
        self._key = (seed, source)
        self._permutation = lru_cache(maxsize=2)(permutation)  # of a window's rows; a batch can span two windows
        self._permuted_shards = lru_cache(maxsize=EPOCHS_AHEAD)(self._permute_shards)
        self._window_rows = shuffle_window_rows

    def locate(self, cursor: int) -> tuple[int, int]:
        """Return the epoch of the row at `cursor`, and the row's position in that epoch."""
        cycle, place = divmod(cursor, int(self._pass_ends[-1]))
        number = int(np.searchsorted(self._pass_ends, place, side="right"))
        start = int(self._pass_ends[number - 1]) if number else 0
        return cycle * len(self._rows_of_passes) + number, place - start

    @property
    def shard_count(self) -> int:
        """The number of shards of all passes."""
        return int(self._first_shards[-1])

    def shards(self, cursor: int, count: int) -> list[int]:
        """Return the shards of all windows that contain the `count` rows from `cursor` on, in order, each once."""
        found: list[int] = []
        end, seen = cursor + count, set[int]()
        while cursor < end and len(seen) < self.shard_count:
            epoch, position = self.locate(cursor)
            start, window_rows = self._window(epoch, position)
            shards, starts = self._permuted_shards(epoch)
            first, last = np.searchsorted(starts, [start, start + window_rows - 1], side="right") - 1
            found += [shard for shard in shards[first : last + 1].tolist() if shard not in seen]
            seen.update(found)
            cursor += start + window_rows - position
        return found

    def rows(self, cursor: int, count: int) -> tuple[Int64Array, Int64Array]:
        """Return the shard number, and the row's index in it, of `count` rows from `cursor` on; shape [count] each."""
        shards, rows = np.empty(count, np.int64), np.empty(count, np.int64)
        done = 0
        while done < count:
            epoch, position = self.locate(cursor + done)
            places = self._places(epoch, position, count - done)
            piece = slice(done, done + len(places))
            shards[piece], rows[piece] = self._identify(epoch, places)
            done += len(places)
        return shards, rows

    def _places(self, epoch: int, position: int, count: int) -> Int64Array:
        """Return the positions, in the epoch's concatenated permuted shards, of the rows from `position` on.

        At most `count` rows, and none beyond the end of the window.
        """
        start, window_rows = self._window(epoch, position)
        slot, window = position - start, start // self._window_rows
        return start + self._permutation(window_rows, *self._key, ROWS, epoch, window)[slot : slot + count]

    def _identify(self, epoch: int, places: Int64Array) -> tuple[Int64Array, Int64Array]:
        shards, starts = self._permuted_shards(epoch)
        nth = np.searchsorted(starts, places, side="right") - 1
        return shards[nth], places - starts[nth]

    def _permute_shards(self, epoch: int) -> tuple[Int64Array, Int64Array]:
        """Return the epoch's shards in order, and the first position of each in their concatenation."""
        rows_of = self._rows_of(epoch)
        order = permutation(len(rows_of), *self._key, SHARDS, epoch)
        ends = np.cumsum(rows_of[order])
        return self._first_shards[epoch % len(self._rows_of_passes)] + order, ends - rows_of[order]

    def _window(self, epoch: int, position: int) -> tuple[int, int]:
        """Return the start of the window that contains a position of the epoch, and its number of rows."""
        start = position // self._window_rows * self._window_rows
        return start, min(self._window_rows, int(self._rows_of(epoch).sum()) - start)

    def _rows_of(self, epoch: int) -> Int64Array:
        return self._rows_of_passes[epoch % len(self._rows_of_passes)]


def permutation(count: int, seed: int, source: int, stream: int, epoch: int, window: int = 0) -> Int64Array:
    """Return a random permutation of 0 … count-1, determined by the arguments; read-only.

    Each number is placed in the low bits of a random 64-bit word; sorting the words shuffles the numbers. The words are
    distinct, so that the result does not depend on the sorting algorithm.
    """
    generator = np.random.Philox(key=[seed, source], counter=[0, window, epoch, stream])
    low_bits = np.uint64((1 << max(count - 1, 0).bit_length()) - 1)
    words = (generator.random_raw(count) & ~low_bits) | np.arange(count, dtype=np.uint64)
    words.sort()
    numbers = (words & low_bits).view(np.int64)
    numbers.flags.writeable = False
    return numbers
