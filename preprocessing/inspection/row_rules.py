"""The data format's rules about every row of a shard, each checked for all rows at once.

A rule takes a shard's rows and the manifest, and returns a boolean array [rows], True where the rule is broken.
`bertrain verify` prints its name. `SHAPE_RULES` are checked first, because the other rules index by the columns that
they check.

Suffixes of arrays: `_r`: one element per row; `_m`: one per masked position of all rows; `_t`: one per token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.dataset import Manifest, Rows

Bools = NDArray[np.bool_]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Rule:
    """A rule, and the column whose value is reported when it is broken."""

    name: str
    column: str
    broken: Callable[[Rows, Manifest], Bools]


def rule(column: str) -> Callable[[Callable[[Rows, Manifest], Bools]], Rule]:
    """Convert a function to a rule with the function's name."""
    return lambda function: Rule(function.__name__.replace("_", " "), column, function)


@rule("input_ids")
def a_row_has_a_token_per_segment_and_at_most_max_seq_length(rows: Rows, manifest: Manifest) -> Bools:
    """A row has at least [CLS], a token of A, [SEP], a token of B, [SEP]; under `none`, [CLS], a token, [SEP]."""
    lengths_r = np.diff(rows.input_offsets)
    return (lengths_r < (3 if manifest.objective == "none" else 5)) | (lengths_r > manifest.max_seq_length)


@rule("masked_lm_positions")
def a_row_has_1_to_max_predictions_masked_positions(rows: Rows, manifest: Manifest) -> Bools:
    """The model learns nothing about masked tokens from a row without masked positions."""
    counts_r = np.diff(rows.masked_offsets)
    return (counts_r < 1) | (counts_r > manifest.max_predictions_per_seq)


@rule("segment_a_length")
def segments_match_the_objective(rows: Rows, manifest: Manifest) -> Bools:
    """Both segments have tokens, or A is the complete row. `segment_a_length` includes [CLS] and the first [SEP]."""
    lengths_r = np.diff(rows.input_offsets)
    segment_a_r = rows.segment_a_length.astype(np.int64)
    if manifest.objective == "none":
        broken_r: Bools = segment_a_r != lengths_r
        return broken_r
    return (segment_a_r < 3) | (segment_a_r > lengths_r - 2)


@rule("masked_lm_positions")
def masked_positions_are_inside_the_row(rows: Rows, manifest: Manifest) -> Bools:
    """Masked positions count from the start of their row."""
    lengths_m = np.repeat(np.diff(rows.input_offsets), np.diff(rows.masked_offsets))
    return any_in_row(rows.masked_lm_positions >= lengths_m, rows.masked_offsets)


@rule("input_ids")
def ids_are_in_the_vocabulary(rows: Rows, manifest: Manifest) -> Bools:
    """Both inputs and labels are ids of the vocabulary."""
    size = manifest.vocabulary.size
    wrong_r = any_in_row(rows.input_ids >= size, rows.input_offsets)
    return wrong_r | any_in_row(rows.masked_lm_ids >= size, rows.masked_offsets)


@rule("input_ids")
def a_row_is_cls_a_sep_b_sep(rows: Rows, manifest: Manifest) -> Bools:
    """The three special tokens are where `segment_a_length` and the row's length put them."""
    starts_r, ends_r = rows.input_offsets[:-1], rows.input_offsets[1:]
    vocabulary = manifest.vocabulary
    first_sep_r = starts_r + rows.segment_a_length.astype(np.int64) - 1
    broken_r: Bools = rows.input_ids[starts_r] != vocabulary.cls_id
    broken_r |= rows.input_ids[first_sep_r] != vocabulary.sep_id
    broken_r |= rows.input_ids[ends_r - 1] != vocabulary.sep_id
    return broken_r


@rule("input_ids")
def special_tokens_appear_nowhere_else(rows: Rows, manifest: Manifest) -> Bools:
    """A row has one [CLS], one [SEP] per segment, no [PAD], and [MASK] only at masked positions."""
    vocabulary = manifest.vocabulary
    masked_as_mask_r = count_in_row(inputs_at_masks(rows) == vocabulary.mask_id, rows.masked_offsets)
    expected = (
        (vocabulary.pad_id, 0),
        (vocabulary.cls_id, 1),
        (vocabulary.sep_id, 1 if manifest.objective == "none" else 2),
        (vocabulary.mask_id, masked_as_mask_r),
    )
    broken_r = np.zeros(len(rows), np.bool_)
    for special_id, times in expected:
        broken_r |= count_in_row(rows.input_ids == special_id, rows.input_offsets) != times
    return broken_r


@rule("next_sentence_label")
def the_label_is_valid_for_the_objective(rows: Rows, manifest: Manifest) -> Bools:
    """0: B follows A, or there is no B; 1: B comes from another document (nsp) or precedes A (sop)."""
    return rows.next_sentence_label > (manifest.objective != "none")


SHAPE_RULES: tuple[Rule, ...] = (
    a_row_has_a_token_per_segment_and_at_most_max_seq_length,
    a_row_has_1_to_max_predictions_masked_positions,
    segments_match_the_objective,
    masked_positions_are_inside_the_row,
)
TOKEN_RULES: tuple[Rule, ...] = (
    ids_are_in_the_vocabulary,
    a_row_is_cls_a_sep_b_sep,
    special_tokens_appear_nowhere_else,
    the_label_is_valid_for_the_objective,
)


def inputs_at_masks(rows: Rows) -> Ints:
    """Return the input id at each masked position [M]."""
    starts_m = np.repeat(rows.input_offsets[:-1], np.diff(rows.masked_offsets))
    inputs_m: Ints = rows.input_ids[starts_m + rows.masked_lm_positions]
    return inputs_m


def original_ids(rows: Rows) -> Ints:
    """Return the tokens of all rows as they were before masking."""
    originals_t: Ints = rows.input_ids.copy()
    starts_m = np.repeat(rows.input_offsets[:-1], np.diff(rows.masked_offsets))
    originals_t[starts_m + rows.masked_lm_positions] = rows.masked_lm_ids
    return originals_t


def count_in_row(flags: Bools, offsets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Count the set flags of each row. `flags` is flat; `offsets` are those of its rows."""
    sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    counts_r: NDArray[np.int64] = sums[offsets[1:]] - sums[offsets[:-1]]
    return counts_r


def any_in_row(flags: Bools, offsets: NDArray[np.int32]) -> Bools:
    """Return for each row whether any of its flags is set."""
    return count_in_row(flags, offsets) > 0
