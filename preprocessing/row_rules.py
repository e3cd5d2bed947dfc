"""What every row of a shard must be: the contract as rules, each over all rows at once.

A rule takes a shard's rows and the manifest and returns a boolean array [rows], True where the rule is broken. Its name
is what `bertrain verify` prints. `SHAPE_RULES` come first: the others index by what they have checked.

    `_r`: an array with an element a row; `_m`: with an element a masked position, of all rows
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.contract import Manifest, Rows

Bools = NDArray[np.bool_]
Ints = NDArray[np.integer[Any]]
Rule = Callable[[Rows, Manifest], Bools]


def a_row_has_a_token_a_segment_and_at_most_max_seq_length(rows: Rows, manifest: Manifest) -> Bools:
    """[CLS], a token of A, [SEP], a token of B, [SEP]: at least; or [CLS], a token, [SEP]."""
    lengths_r = np.diff(rows.input_offsets)
    return (lengths_r < (3 if manifest.objective == "none" else 5)) | (lengths_r > manifest.max_seq_length)


def a_row_has_1_to_max_predictions_masked_positions(rows: Rows, manifest: Manifest) -> Bools:
    """A row without any would teach the masked-LM head nothing."""
    counts_r = np.diff(rows.masked_offsets)
    return (counts_r < 1) | (counts_r > manifest.max_predictions_per_seq)


def segments_are_those_of_the_objective(rows: Rows, manifest: Manifest) -> Bools:
    """`segment_a_length` counts [CLS] and the first [SEP]; both segments have tokens, or A is the whole row."""
    lengths_r = np.diff(rows.input_offsets)
    segment_a_r = rows.segment_a_length.astype(np.int64)
    if manifest.objective == "none":
        broken_r: Bools = segment_a_r != lengths_r
        return broken_r
    return (segment_a_r < 3) | (segment_a_r > lengths_r - 2)


def masked_positions_lie_inside_the_row(rows: Rows, manifest: Manifest) -> Bools:
    """Counted from the row's own start."""
    lengths_m = np.repeat(np.diff(rows.input_offsets), np.diff(rows.masked_offsets))
    return _any_in_row(rows.masked_lm_positions >= lengths_m, rows.masked_offsets)


def ids_lie_in_the_vocabulary(rows: Rows, manifest: Manifest) -> Bools:
    """Inputs and labels alike."""
    size = manifest.vocabulary.size
    wrong_r = _any_in_row(rows.input_ids >= size, rows.input_offsets)
    return wrong_r | _any_in_row(rows.masked_lm_ids >= size, rows.masked_offsets)


def a_row_is_cls_a_sep_b_sep(rows: Rows, manifest: Manifest) -> Bools:
    """The three special tokens stand where `segment_a_length` and the row's length say."""
    starts_r, ends_r = rows.input_offsets[:-1], rows.input_offsets[1:]
    vocabulary = manifest.vocabulary
    first_sep_r = starts_r + rows.segment_a_length.astype(np.int64) - 1
    broken_r: Bools = rows.input_ids[starts_r] != vocabulary.cls_id
    broken_r |= rows.input_ids[first_sep_r] != vocabulary.sep_id
    broken_r |= rows.input_ids[ends_r - 1] != vocabulary.sep_id
    return broken_r


def special_tokens_stand_nowhere_else(rows: Rows, manifest: Manifest) -> Bools:
    """One [CLS], a [SEP] a segment, no [PAD], and [MASK] only where a position is masked."""
    vocabulary = manifest.vocabulary
    masked_as_mask_r = _count_in_row(_inputs_at_masks(rows) == vocabulary.mask_id, rows.masked_offsets)
    expected = (
        (vocabulary.pad_id, 0),
        (vocabulary.cls_id, 1),
        (vocabulary.sep_id, 1 if manifest.objective == "none" else 2),
        (vocabulary.mask_id, masked_as_mask_r),
    )
    broken_r = np.zeros(len(rows), np.bool_)
    for special_id, times in expected:
        broken_r |= _count_in_row(rows.input_ids == special_id, rows.input_offsets) != times
    return broken_r


def masked_positions_ascend(rows: Rows, manifest: Manifest) -> Bools:
    """So no position is masked twice."""
    positions_m = rows.masked_lm_positions.astype(np.int64)
    broken_m = np.zeros(len(positions_m), np.bool_)
    broken_m[1:] = positions_m[1:] <= positions_m[:-1]
    broken_m[rows.masked_offsets[:-1]] = False  # the first of a row follows none
    return _any_in_row(broken_m, rows.masked_offsets)


def no_special_token_is_masked(rows: Rows, manifest: Manifest) -> Bools:
    """Neither by its position nor by its label."""
    counts_r = np.diff(rows.masked_offsets)
    positions_m = rows.masked_lm_positions
    last_m = np.repeat(np.diff(rows.input_offsets) - 1, counts_r)
    first_sep_m = np.repeat(rows.segment_a_length.astype(np.int64) - 1, counts_r)
    placed_m = (positions_m == 0) | (positions_m == first_sep_m) | (positions_m == last_m)
    return _any_in_row(placed_m | _is_structural(rows.masked_lm_ids, manifest), rows.masked_offsets)


def a_masked_token_is_mask_kept_or_another_ordinary_one(rows: Rows, manifest: Manifest) -> Bools:
    """What stands in the input at a masked position is never a special token other than [MASK], unless kept."""
    inputs_m = _inputs_at_masks(rows)
    vocabulary = manifest.vocabulary
    special_m = np.isin(inputs_m, [vocabulary.pad_id, vocabulary.unk_id, vocabulary.cls_id, vocabulary.sep_id])
    return _any_in_row(special_m & (inputs_m != rows.masked_lm_ids), rows.masked_offsets)


def the_label_is_one_of_the_objective(rows: Rows, manifest: Manifest) -> Bools:
    """0: B follows A, or there is none; 1: it is another document's (nsp), or comes first (sop)."""
    return rows.next_sentence_label > (manifest.objective != "none")


SHAPE_RULES: tuple[Rule, ...] = (
    a_row_has_a_token_a_segment_and_at_most_max_seq_length,
    a_row_has_1_to_max_predictions_masked_positions,
    segments_are_those_of_the_objective,
    masked_positions_lie_inside_the_row,
)
TOKEN_RULES: tuple[Rule, ...] = (
    ids_lie_in_the_vocabulary,
    a_row_is_cls_a_sep_b_sep,
    special_tokens_stand_nowhere_else,
    masked_positions_ascend,
    no_special_token_is_masked,
    a_masked_token_is_mask_kept_or_another_ordinary_one,
    the_label_is_one_of_the_objective,
)


def _inputs_at_masks(rows: Rows) -> Ints:
    """The input id at each masked position [M]."""
    starts_m = np.repeat(rows.input_offsets[:-1], np.diff(rows.masked_offsets))
    inputs_m: Ints = rows.input_ids[starts_m + rows.masked_lm_positions]
    return inputs_m


def _is_structural(ids: Ints, manifest: Manifest) -> Bools:
    vocabulary = manifest.vocabulary
    return np.isin(ids, [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id])


def _count_in_row(flags: Bools, offsets: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many flags of each row are set, for flat flags and their rows' offsets."""
    sums = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
    counts_r: NDArray[np.int64] = sums[offsets[1:]] - sums[offsets[:-1]]
    return counts_r


def _any_in_row(flags: Bools, offsets: NDArray[np.int32]) -> Bools:
    return _count_in_row(flags, offsets) > 0
