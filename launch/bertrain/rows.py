"""The rows of a data set's split and pass, as NumPy views on its memory-mapped shards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from preprocessing.dataset import IntArray, Manifest, Rows, ShardEntry, open_sound_shard, read_shard
from preprocessing.storage import LocalStore, Store

IGNORED = -100  # what torch's cross entropy and transformers ignore as a label
MOST_OPEN = 256  # mappings that are kept; each holds a file descriptor


@dataclass(frozen=True)
class Row:
    """One row of L tokens, M of them masked: `[CLS] A [SEP] B [SEP]`, not padded.

    The arrays are read-only views on the shard. Under the objective `none` the row is `[CLS] text [SEP]` and
    `segment_a_length` is L.
    """

    input_ids: IntArray  # [L], uint16 (uint32 above 65,536 entries), with masks applied
    segment_a_length: int
    masked_lm_positions: NDArray[np.uint16]  # [M], ascending
    masked_lm_ids: IntArray  # [M], the original tokens at these positions
    next_sentence_label: int  # 0: B follows A; 1: B is from another document (nsp), or A and B are swapped (sop)

    @property
    def token_type_ids(self) -> NDArray[np.int64]:
        """[L], 0 for segment A, [CLS] and the first [SEP] included, and 1 for segment B."""
        return (np.arange(len(self.input_ids)) >= self.segment_a_length).astype(np.int64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """[L], the original token at each masked position, and -100 everywhere else."""
        labels = np.full(len(self.input_ids), IGNORED, np.int64)
        labels[self.masked_lm_positions] = self.masked_lm_ids
        return labels


class RowSequence(Sequence[Row]):
    """The rows of some shards of a data set, by number. A shard is checked when a row of it is first read.

    The last 256 shards opened stay mapped; those at a URL are downloaded again after that.

    Raises `UserError`, which names the file, when a shard is missing or damaged. It can be pickled, for worker
    processes; each of them opens the shards itself.
    """

    def __init__(self, store: Store, shards: Sequence[ShardEntry], manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest
        self.shards = tuple(shards)
        self._ends = list(accumulate(shard.rows for shard in shards))
        self._open: dict[int, Rows] = {}  # the first opened first
        self._checked: set[int] = set()

    @override
    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    @override
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]  # an IndexError where there is none
        shard = bisect_right(self._ends, number)
        return _row(self._rows_of(shard), number - self._ends[shard] + self.shards[shard].rows)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_open": {}}

    def _rows_of(self, number: int) -> Rows:
        if number not in self._open:
            if len(self._open) == MOST_OPEN:
                del self._open[next(iter(self._open))]
            shard = self.shards[number]
            if number in self._checked and isinstance(self.store, LocalStore):  # a copy from a URL is a new one
                with self.store.local_file(shard.name) as path:
                    self._open[number] = read_shard(path)
            else:
                self._open[number] = open_sound_shard(self.store, shard, self.manifest)
            self._checked.add(number)
        return self._open[number]


def _row(rows: Rows, number: int) -> Row:
    masked = slice(rows.masked_offsets[number], rows.masked_offsets[number + 1])
    return Row(
        input_ids=rows.input_ids[rows.input_offsets[number] : rows.input_offsets[number + 1]],
        segment_a_length=int(rows.segment_a_length[number]),
        masked_lm_positions=rows.masked_lm_positions[masked],
        masked_lm_ids=rows.masked_lm_ids[masked],
        next_sentence_label=int(rows.next_sentence_label[number]),
    )
