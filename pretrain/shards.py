"""The shards of a data set: memory-mapped, checked once, their rows gathered into flat arrays.

A gather runs a compiled loop over NumPy views on the mapping: no Arrow object a row, no copy but the one that is
wanted. The loops are compiled once a process (0.6 s), or once a machine where NUMBA_CACHE_DIR names a folder.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from configs.errors import UserError
from preprocessing.contract import IntArray, Manifest, Rows, ShardEntry, check_shard, read_shard
from pretrain.batch import Batch
from pretrain.order import Int64Array

MAX_OPEN = 256  # mappings a process keeps; each holds a file descriptor

# Never beside the source by default: that may be a file system which all nodes share, and write at once.
KEEP_COMPILED = "NUMBA_CACHE_DIR" in os.environ


@dataclass(frozen=True)
class Gathered:
    """Rows one behind another, as in `Batch`, but on the host and with offsets for both ragged axes."""

    input_ids: Int64Array
    token_type_ids: Int64Array
    position_ids: Int64Array
    offsets: Int64Array
    masked_positions: Int64Array
    masked_ids: Int64Array
    masked_offsets: Int64Array
    next_sentence_label: Int64Array

    def batch(self, begin: int, end: int) -> Batch:
        """Rows [begin, end) as a batch that shares this one's memory."""
        offsets = self.offsets[begin : end + 1]
        tokens = slice(int(offsets[0]), int(offsets[-1]))
        masked = slice(int(self.masked_offsets[begin]), int(self.masked_offsets[end]))
        return Batch(
            input_ids=torch.from_numpy(self.input_ids[tokens]),
            token_type_ids=torch.from_numpy(self.token_type_ids[tokens]),
            position_ids=torch.from_numpy(self.position_ids[tokens]),
            offsets=torch.from_numpy((offsets - offsets[0]).astype(np.int32)),
            max_length=int(np.diff(offsets).max()),
            masked_positions=torch.from_numpy(self.masked_positions[masked] - offsets[0]),
            masked_ids=torch.from_numpy(self.masked_ids[masked]),
            next_sentence_label=torch.from_numpy(self.next_sentence_label[begin:end]),
        )


class Shards:
    """Some shards of one data set, by number. A shard's SHA-256 and shape are checked when it is first opened."""

    def __init__(self, folder: Path, manifest: Manifest, entries: Sequence[ShardEntry]) -> None:
        self._folder = folder
        self._manifest = manifest
        self._entries = entries
        self._open: OrderedDict[int, Rows] = OrderedDict()  # least recently used first
        self._checked: set[int] = set()

    def __getitem__(self, number: int) -> Rows:
        """The rows of a shard, mapped; `UserError` names the file when it is not what the manifest says."""
        if number not in self._open:
            if len(self._open) == MAX_OPEN:
                self._open.popitem(last=False)
            self._open[number] = self._map(number)
        self._open.move_to_end(number)
        return self._open[number]

    def sizes(self, shards: Int64Array, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Tokens and masked positions of each of B rows; shape [B] each."""
        lengths, masked = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        for number, slots in _by_shard(shards):
            shard, places = self[number], rows[slots]
            lengths[slots] = shard.input_offsets[places + 1] - shard.input_offsets[places]
            masked[slots] = shard.masked_offsets[places + 1] - shard.masked_offsets[places]
        return lengths, masked

    def gather(self, shards: Int64Array, rows: Int64Array, lengths: Int64Array, masked: Int64Array) -> Gathered:
        """Read B rows of these `sizes`, in the order given."""
        offsets, masked_offsets = np.append(0, lengths.cumsum()), np.append(0, masked.cumsum())
        input_ids, token_type_ids, position_ids = (np.empty(offsets[-1], np.int64) for _ in range(3))
        masked_positions, masked_ids = (np.empty(masked_offsets[-1], np.int64) for _ in range(2))
        labels = np.empty(len(rows), np.int64)
        for number, slots in _by_shard(shards):
            shard, places = self[number], rows[slots]
            labels[slots] = shard.next_sentence_label[places]
            _copy_tokens(
                places, shard.input_ids, shard.input_offsets, shard.segment_a_length,
                offsets[slots], input_ids, token_type_ids, position_ids,
            )  # fmt: skip
            _copy_masks(
                places, shard.masked_lm_positions, shard.masked_lm_ids, shard.masked_offsets,
                offsets[slots], masked_offsets[slots], masked_positions, masked_ids,
            )  # fmt: skip
        return Gathered(
            input_ids, token_type_ids, position_ids, offsets, masked_positions, masked_ids, masked_offsets, labels
        )

    def _map(self, number: int) -> Rows:
        entry = self._entries[number]
        if number in self._checked:
            return read_shard(self._folder / entry.name)
        check_shard(self._folder, entry)
        rows = read_shard(self._folder / entry.name)
        if not _is_sound(rows, entry, self._manifest):
            raise UserError(
                "the shard does not hold the rows that the manifest tells of",
                place=str(self._folder / entry.name),
                mend="prepare the data set again",
            )
        self._checked.add(number)
        return rows


def _by_shard(shards: Int64Array) -> Iterator[tuple[int, Int64Array]]:
    """Each shard's number with the slots in which it stands."""
    order = np.argsort(shards, kind="stable")
    for slots in np.split(order, np.flatnonzero(np.diff(shards[order])) + 1):
        if len(slots):
            yield int(shards[slots[0]]), slots


def _is_sound(rows: Rows, entry: ShardEntry, manifest: Manifest) -> bool:
    """Whether the compiled loops may trust a shard whose digest is right: they check no bounds."""
    lengths, masked = np.diff(rows.input_offsets), np.diff(rows.masked_offsets)
    if len(rows) != entry.rows or not len(lengths) == len(masked) == len(rows.next_sentence_label) == entry.rows:
        return False
    if not _spans(rows.input_offsets, rows.input_ids) or not _spans(rows.masked_offsets, rows.masked_lm_positions):
        return False
    return bool(
        len(rows.masked_lm_ids) == len(rows.masked_lm_positions)
        and lengths.max(initial=0) <= manifest.max_seq_length
        and rows.input_ids.max(initial=0) < manifest.vocabulary.size
        and rows.masked_lm_ids.max(initial=0) < manifest.vocabulary.size
        and np.all(rows.masked_lm_positions < np.repeat(lengths, masked))
        and rows.next_sentence_label.max(initial=0) <= 1
    )


def _spans(offsets: NDArray[np.int32], values: IntArray) -> bool:
    """Whether ascending offsets cut all of the values."""
    return bool(offsets[0] == 0 and offsets[-1] == len(values) and np.diff(offsets).min(initial=0) >= 0)


@numba.njit(nogil=True, cache=KEEP_COMPILED)
def _copy_tokens(
    rows: Int64Array,
    ids: IntArray,
    offsets: NDArray[np.int32],
    segment_a_length: NDArray[np.uint16],
    starts: Int64Array,
    input_ids: Int64Array,
    token_type_ids: Int64Array,
    position_ids: Int64Array,
) -> None:
    """Copy each row's tokens to its start, with their segments and positions."""
    for row, start in zip(rows, starts):  # noqa: B905  # numba knows no strict=
        begin = offsets[row]
        for position in range(offsets[row + 1] - begin):
            input_ids[start + position] = ids[begin + position]
            token_type_ids[start + position] = position >= segment_a_length[row]
            position_ids[start + position] = position


@numba.njit(nogil=True, cache=KEEP_COMPILED)
def _copy_masks(
    rows: Int64Array,
    positions: NDArray[np.uint16],
    ids: IntArray,
    offsets: NDArray[np.int32],
    row_starts: Int64Array,
    starts: Int64Array,
    masked_positions: Int64Array,
    masked_ids: Int64Array,
) -> None:
    """Copy each row's masked positions and ids to its start; positions then count from the first row's first token."""
    for row, row_start, start in zip(rows, row_starts, starts):  # noqa: B905  # numba knows no strict=
        begin = offsets[row]
        for nth in range(offsets[row + 1] - begin):
            masked_positions[start + nth] = row_start + positions[begin + nth]
            masked_ids[start + nth] = ids[begin + nth]
