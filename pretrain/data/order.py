"""The global order: which rows come when. It depends on the seed and the cursor alone.

An epoch is one pass over the training rows, permuted in two levels: its shards, then, window by window, the rows of
those shards one behind another. Epochs follow one another without a gap; epoch e reads pass e mod `dupe_factor`. Any
cursor is reached in O(1): find its epoch and its window, draw that window's permutation.

Permutations are drawn from the raw words of NumPy's Philox, a counter-based generator (Salmon et al. 2011), keyed by
the seed, its counter set to (window, epoch, stream). NumPy keeps the stream of a bit generator stable (NEP 19), and
the sorting is of distinct integers, so every NumPy on every processor finds the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

SHARDS, ROWS = 0, 1  # streams of random words
EPOCHS_AHEAD = 16  # of small data sets, which one look at the coming shards may span


class GlobalOrder:
    """The training rows in the order in which they are trained, for ever.

    `rows_of_passes[p][s]` is the number of rows of the s-th shard of pass p. Shards are numbered through all passes,
    pass 0 first; a row is named by its shard's number and its place in the shard. `source` tells orders of one seed
    apart.
    """

    def __init__(
        self, rows_of_passes: Sequence[Sequence[int]], *, seed: int, shuffle_window_rows: int, source: int = 0
    ) -> None:
        self._rows_of_passes = [np.asarray(rows, dtype=np.int64) for rows in rows_of_passes]
        self._first_shards = np.cumsum([0, *(len(rows) for rows in rows_of_passes)])
        self._pass_ends = np.cumsum([rows.sum() for rows in self._rows_of_passes])
        assert self._pass_ends[-1] > 0, "no rows"
        self._key = (seed, source)
        self._permutation = lru_cache(maxsize=2)(permutation)  # of a window's rows; a batch may straddle two
        self._permuted_shards = lru_cache(maxsize=EPOCHS_AHEAD)(self._permute_shards)
        self._window_rows = shuffle_window_rows

    def locate(self, cursor: int) -> tuple[int, int]:
        """The epoch that the row at `cursor` belongs to, and the row's position in it."""
        cycle, place = divmod(cursor, int(self._pass_ends[-1]))
        number = int(np.searchsorted(self._pass_ends, place, side="right"))
        start = int(self._pass_ends[number - 1]) if number else 0
        return cycle * len(self._rows_of_passes) + number, place - start

    @property
    def shard_count(self) -> int:
        """Shards of all passes."""
        return int(self._first_shards[-1])

    def shards(self, cursor: int, count: int) -> list[int]:
        """The shards of all windows that the `count` rows from `cursor` on lie in, window by window, each once."""
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
        """The `count` rows from `cursor` on: the number of each one's shard, and its place there; [count] each."""
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
        """Where the rows from `position` on stand among the epoch's permuted shards, one behind another.

        At most `count` of them, and none beyond the end of the window.
        """
        start, window_rows = self._window(epoch, position)
        slot, window = position - start, start // self._window_rows
        return start + self._permutation(window_rows, *self._key, ROWS, epoch, window)[slot : slot + count]

    def _identify(self, epoch: int, places: Int64Array) -> tuple[Int64Array, Int64Array]:
        shards, starts = self._permuted_shards(epoch)
        nth = np.searchsorted(starts, places, side="right") - 1
        return shards[nth], places - starts[nth]

    def _permute_shards(self, epoch: int) -> tuple[Int64Array, Int64Array]:
        """The epoch's shards in their order, and where each begins when they stand one behind another."""
        rows_of = self._rows_of(epoch)
        order = permutation(len(rows_of), *self._key, SHARDS, epoch)
        ends = np.cumsum(rows_of[order])
        return self._first_shards[epoch % len(self._rows_of_passes)] + order, ends - rows_of[order]

    def _window(self, epoch: int, position: int) -> tuple[int, int]:
        """Where the window around a position of the epoch starts, and how many rows it has."""
        start = position // self._window_rows * self._window_rows
        return start, min(self._window_rows, int(self._rows_of(epoch).sum()) - start)

    def _rows_of(self, epoch: int) -> Int64Array:
        return self._rows_of_passes[epoch % len(self._rows_of_passes)]


def permutation(count: int, seed: int, source: int, stream: int, epoch: int, window: int = 0) -> Int64Array:
    """A random permutation of 0 … count-1, the same for the same arguments; read-only.

    Each number is put into the low bits of a random 64-bit word; sorting the words shuffles the numbers. The words are
    distinct, so the result does not hang on the sorting algorithm.
    """
    generator = np.random.Philox(key=[seed, source], counter=[0, window, epoch, stream])
    low_bits = np.uint64((1 << max(count - 1, 0).bit_length()) - 1)
    words = (generator.random_raw(count) & ~low_bits) | np.arange(count, dtype=np.uint64)
    words.sort()
    numbers = (words & low_bits).view(np.int64)
    numbers.flags.writeable = False
    return numbers
