"""Compiled loops: gather rows of shards into flat arrays, with one copy and without an Arrow object per row.

The loops are compiled once per process (0.4 s), or once per machine if NUMBA_CACHE_DIR names a folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing.dataset import IntArray
from pretrain.data.order import Int64Array
from pretrain.model import Batch

# Not next to the source by default: all nodes may share that file system and write to it at once.
KEEP_COMPILED = "NUMBA_CACHE_DIR" in os.environ


@dataclass(frozen=True)
class Gathered:
    """Concatenated rows as in `Batch`, but on the host and with offsets for both ragged axes."""

    input_ids: Int64Array
    token_type_ids: Int64Array
    position_ids: Int64Array
    offsets: Int64Array
    masked_positions: Int64Array
    masked_ids: Int64Array
    masked_offsets: Int64Array
    next_sentence_label: Int64Array

    def predicting_next(self, predicted: Int64Array) -> Gathered:
        """Return these rows unmasked, with the next token as the target of each; `predicted` counts them by row.

        The memory of `input_ids` is shared, and changed.
        """
        starts = np.append(0, predicted.cumsum())
        positions, ids = (np.empty(starts[-1], np.int64) for _ in range(2))
        predict_next(
            self.input_ids, self.token_type_ids, self.offsets, self.masked_positions, self.masked_ids,
            starts, positions, ids,
        )  # fmt: skip
        return replace(self, masked_positions=positions, masked_ids=ids, masked_offsets=starts)

    def batch(self, begin: int, end: int) -> Batch:
        """Return rows [begin, end) as a batch that shares this object's memory."""
        offsets = self.offsets[begin : end + 1]
        tokens = slice(int(offsets[0]), int(offsets[-1]))
        masked = slice(int(self.masked_offsets[begin]), int(self.masked_offsets[end]))
        return Batch(
            input_ids=torch.from_numpy(self.input_ids[tokens]),
            token_type_ids=torch.from_numpy(self.token_type_ids[tokens]),
            position_ids=torch.from_numpy(self.position_ids[tokens]),
            offsets=torch.from_numpy((offsets - offsets[0]).astype(np.int32)),
            max_length=int((offsets[1:] - offsets[:-1]).max()),
            masked_positions=torch.from_numpy(self.masked_positions[masked] - offsets[0]),
            masked_ids=torch.from_numpy(self.masked_ids[masked]),
            next_sentence_label=torch.from_numpy(self.next_sentence_label[begin:end]),
        )


@numba.njit(nogil=True, cache=KEEP_COMPILED)
def predict_next(
    input_ids: Int64Array,
    token_type_ids: Int64Array,
    offsets: Int64Array,
    masked_positions: Int64Array,
    masked_ids: Int64Array,
    starts: Int64Array,
    positions: Int64Array,
    ids: Int64Array,
) -> None:
    """Restore what was masked, and write the places and ids of next-token prediction, row by row from `starts` on.

    Each token of a segment is predicted at the token before it; [CLS], which is first, and [SEP], which is the last of
    each segment, are not predicted: like the masks, and like the counts of the unigram loss.
    """
    for nth in range(len(masked_positions)):
        input_ids[masked_positions[nth]] = masked_ids[nth]
    for row in range(len(offsets) - 1):
        first, last, place = offsets[row], offsets[row + 1] - 1, starts[row]
        for token in range(first + 1, last):
            if token_type_ids[token] == token_type_ids[token + 1]:
                positions[place], ids[place] = token - 1, input_ids[token]
                place += 1


@numba.njit(nogil=True, cache=KEEP_COMPILED)
def copy_tokens(
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
        source, segment_a = ids[offsets[row] : offsets[row + 1]], segment_a_length[row]
        # Views: their index is never negative, needs no wrap-around check, and the loop is vectorised.
        tokens, types, positions = input_ids[start:], token_type_ids[start:], position_ids[start:]
        for position in range(len(source)):
            tokens[position] = source[position]
            types[position] = position >= segment_a
            positions[position] = position


@numba.njit(nogil=True, cache=KEEP_COMPILED)
def copy_masks(
    rows: Int64Array,
    positions: NDArray[np.uint16],
    ids: IntArray,
    offsets: NDArray[np.int32],
    row_starts: Int64Array,
    starts: Int64Array,
    masked_positions: Int64Array,
    masked_ids: Int64Array,
) -> None:
    """Copy each row's masked positions and ids to its start. Positions count from the first token of the first row."""
    for row, row_start, start in zip(rows, row_starts, starts):  # noqa: B905  # numba knows no strict=
        places, originals = positions[offsets[row] : offsets[row + 1]], ids[offsets[row] : offsets[row + 1]]
        masked_places, masked_originals = masked_positions[start:], masked_ids[start:]
        for nth in range(len(places)):
            masked_places[nth] = row_start + places[nth]
            masked_originals[nth] = originals[nth]


@numba.njit(nogil=True, cache=KEEP_COMPILED)
def pack(
    lengths: Int64Array,
    longest_first: Int64Array,
    rank_of: Int64Array,
    micro_of: Int64Array,
    world_size: int,
    most_rows: int,
    most_tokens: int,
) -> int:
    """Write each row's micro-batch on its rank to `micro_of`; return the largest number of them on a rank."""
    room = len(lengths) // world_size + 1  # micro-batches of one row
    tokens, rows = np.zeros((world_size, room), np.int64), np.zeros((world_size, room), np.int64)
    accumulation = 1
    for row in longest_first:
        rank, micro = rank_of[row], 0
        while rows[rank, micro] > 0 and (
            rows[rank, micro] == most_rows or tokens[rank, micro] + lengths[row] > most_tokens
        ):
            micro += 1
        micro_of[row] = micro
        rows[rank, micro] += 1
        tokens[rank, micro] += lengths[row]
        accumulation = max(accumulation, micro + 1)
    return accumulation
