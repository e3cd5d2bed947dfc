"""The shards of data sets: memory-mapped, checked once, and read through NumPy views of the mappings."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np

from preprocessing.dataset import Rows, ShardEntry
from pretrain.data.dataset import Dataset
from pretrain.data.gather import Gathered, copy_masks, copy_tokens
from pretrain.data.order import Int64Array
from pretrain.data.staging import StoredFile

MAX_OPEN = 256  # open mappings of one `Shards`; each holds a file descriptor
SHARE_OF_DESCRIPTORS = 1 / 6  # of this process's limit: training and held-out rows of several corpora are open at once


def most_open() -> int:
    """Return the number of mappings that fit in the limit of this process on open files (`ulimit -n`)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(4, min(MAX_OPEN, int(limit * SHARE_OF_DESCRIPTORS))) if limit > 0 else MAX_OPEN


class Shards:
    """Shards of data sets, by number. A shard's SHA-256 and shape are checked when it is first opened."""

    def __init__(self, shards: Sequence[tuple[Dataset, ShardEntry]]) -> None:
        self._shards = shards
        self._open: OrderedDict[int, Rows] = OrderedDict()  # least recently used first
        self._checked: set[int] = set()

    def __getitem__(self, number: int) -> Rows:
        """Return the rows of a shard, memory-mapped. Raises `UserError` if the file does not match the manifest."""
        if number not in self._open:
            while len(self._open) >= most_open():
                self._open.popitem(last=False)
            self._open[number] = self._map(number)
        self._open.move_to_end(number)
        return self._open[number]

    def check(self, number: int) -> None:
        """Check a shard like its first use does, and close it. Raises `UserError` if it is damaged."""
        self.expect(now=[number], later=[])
        self[number]
        self.expect(now=[], later=[])

    def expect(self, now: Sequence[int], later: Sequence[int]) -> None:
        """Announce the shards that are read `now` and those that are read `later`; other mappings are closed."""
        for number in self._open.keys() - {*now, *later}:
            del self._open[number]  # a mapping would hold the disk space of a staged shard that has been removed
        stage = self._shards[0][0].stage
        if stage is not None:
            stage.expect(*([self._stored(number) for number in numbers] for numbers in (now, later)))

    def names(self, shards: Int64Array, rows: Int64Array) -> list[str]:
        """Rows for a message: each shard's file and which of its rows, from 0 on."""
        return [
            f"{self._stored(number).place} rows {', '.join(map(str, sorted(rows[slots].tolist())))}"
            for number, slots in _by_shard(shards)
        ]

    def sizes(self, shards: Int64Array, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Return the number of tokens and of masked positions of each of B rows; shape [B] each."""
        lengths, masked = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        for number, slots in _by_shard(shards):
            shard, places = self[number], rows[slots]
            lengths[slots] = shard.input_offsets[places + 1] - shard.input_offsets[places]
            masked[slots] = shard.masked_offsets[places + 1] - shard.masked_offsets[places]
        return lengths, masked

    def predictable(self, shards: Int64Array, rows: Int64Array) -> Int64Array:
        """Return the number of tokens of each of B rows that are predicted from left to right: all but special ones."""
        tokens = np.empty(len(rows), np.int64)
        for number, slots in _by_shard(shards):
            shard, places = self[number], rows[slots]
            lengths = np.diff(shard.input_offsets)[places].astype(np.int64)
            segment_a = shard.segment_a_length[places]
            tokens[slots] = np.maximum(0, lengths - 2 - ((segment_a > 1) & (segment_a < lengths)))
        return tokens

    def gather(self, shards: Int64Array, rows: Int64Array, lengths: Int64Array, masked: Int64Array) -> Gathered:
        """Read B rows with these `sizes`, in the given order."""
        offsets, masked_offsets = np.append(0, lengths.cumsum()), np.append(0, masked.cumsum())
        # One block: from 4 MiB on, NumPy requests huge pages; without them, page faults take half of the time.
        input_ids, token_type_ids, position_ids = np.empty((3, offsets[-1]), np.int64)
        masked_positions, masked_ids = (np.empty(masked_offsets[-1], np.int64) for _ in range(2))
        labels = np.empty(len(rows), np.int64)
        for number, slots in _by_shard(shards):
            shard, places = self[number], rows[slots]
            labels[slots] = shard.next_sentence_label[places]
            copy_tokens(
                places, shard.input_ids, shard.input_offsets, shard.segment_a_length,
                offsets[slots], input_ids, token_type_ids, position_ids,
            )  # fmt: skip
            copy_masks(
                places, shard.masked_lm_positions, shard.masked_lm_ids, shard.masked_offsets,
                offsets[slots], masked_offsets[slots], masked_positions, masked_ids,
            )  # fmt: skip
        return Gathered(
            input_ids, token_type_ids, position_ids, offsets, masked_positions, masked_ids, masked_offsets, labels
        )

    def _map(self, number: int) -> Rows:
        dataset, entry = self._shards[number]
        rows = dataset.open_shard(entry, checked=number in self._checked)
        self._checked.add(number)
        return rows

    def _stored(self, number: int) -> StoredFile:
        dataset, entry = self._shards[number]
        return dataset.stored(entry)


def _by_shard(shards: Int64Array) -> Iterator[tuple[int, Int64Array]]:
    """Yield each shard's number with the indexes at which it occurs."""
    order = np.argsort(shards, kind="stable")
    for slots in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
        if len(slots):
            yield int(shards[slots[0]]), slots
