"""Rules about the masks of every row, like those of `row_rules`. Some depend on the recipe's masking options.

Suffixes of arrays: `_r`: one element per row; `_m`: one per masked position of all rows; `_t`: one per token.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from configs.schema import MaskingConfig
from preprocessing.dataset import Manifest, Rows
from preprocessing.inspection.row_rules import (
    Bools,
    Ints,
    Rule,
    any_in_row,
    count_in_row,
    inputs_at_masks,
    original_ids,
    rule,
)
from preprocessing.rows import ordinary_tokens, predictions
from preprocessing.vocabulary import Vocabulary, continues_word

# Returns for each token of the rows whether it continues the word of the token before it.
InsideWords = Callable[[Rows], Bools]
_HASH_BASE = np.uint64(0x9E3779B97F4A7C15)


def mask_rules(config: MaskingConfig, vocabulary: Vocabulary) -> tuple[Rule, ...]:
    """Return all mask rules for rows that were made with the recipe's `[data]` fields."""
    always = (
        masked_positions_ascend,
        no_special_token_is_masked,
        a_masked_token_is_mask_kept_or_an_ordinary_token,
        _count_rule(config),
    )

    def inside_words(rows: Rows) -> Bools:
        return continues_word(original_ids(rows), vocabulary, config)

    whole = (_whole_words_rule(config, inside_words),) if config.whole_word_masking else ()
    once = (_word_once_rule(inside_words),) if config.mask_word_once else ()
    return (*always, *whole, *once)


@rule("masked_lm_positions")
def masked_positions_ascend(rows: Rows, manifest: Manifest) -> Bools:
    """Masked positions ascend strictly, so no position is masked twice."""
    positions_m = rows.masked_lm_positions.astype(np.int64)
    broken_m = np.zeros(len(positions_m), np.bool_)
    broken_m[1:] = positions_m[1:] <= positions_m[:-1]
    broken_m[rows.masked_offsets[:-1]] = False  # the first one of a row has no predecessor
    return any_in_row(broken_m, rows.masked_offsets)


@rule("masked_lm_positions")
def no_special_token_is_masked(rows: Rows, manifest: Manifest) -> Bools:
    """No special token is masked, neither by its position nor by its label."""
    counts_r = np.diff(rows.masked_offsets)
    positions_m = rows.masked_lm_positions
    last_m = np.repeat(np.diff(rows.input_offsets) - 1, counts_r)
    first_sep_m = np.repeat(rows.segment_a_length.astype(np.int64) - 1, counts_r)
    placed_m = (positions_m == 0) | (positions_m == first_sep_m) | (positions_m == last_m)
    return any_in_row(placed_m | _is_structural(rows.masked_lm_ids, manifest), rows.masked_offsets)


@rule("input_ids")
def a_masked_token_is_mask_kept_or_an_ordinary_token(rows: Rows, manifest: Manifest) -> Bools:
    """The input at a masked position is never a special token other than [MASK], unless it is kept."""
    inputs_m = inputs_at_masks(rows)
    vocabulary = manifest.vocabulary
    special_m = np.isin(inputs_m, [vocabulary.pad_id, vocabulary.unk_id, vocabulary.cls_id, vocabulary.sep_id])
    return any_in_row(special_m & (inputs_m != rows.masked_lm_ids), rows.masked_offsets)


def _targets(rows: Rows, config: MaskingConfig) -> NDArray[np.int64]:
    """Return the number of tokens to predict in each row."""
    lengths_r = np.diff(rows.input_offsets)
    ordinary_r = ordinary_tokens(lengths_r, rows.segment_a_length)
    return predictions(lengths_r, ordinary_r, config.masked_lm_prob, config.max_predictions_per_seq)


def _count_rule(config: MaskingConfig) -> Rule:
    is_exact = not (config.whole_word_masking or config.mask_word_once)  # these skip words that do not fit

    @rule("masked_lm_positions")
    def the_number_of_masked_tokens_follows_masked_lm_prob(rows: Rows, manifest: Manifest) -> Bools:
        counts_r, targets_r = np.diff(rows.masked_offsets), _targets(rows, config)
        broken_r: Bools = counts_r != targets_r if is_exact else counts_r > targets_r
        return broken_r

    return the_number_of_masked_tokens_follows_masked_lm_prob


def _whole_words_rule(config: MaskingConfig, inside_words: InsideWords) -> Rule:
    @rule("masked_lm_positions")
    def whole_words_are_masked(rows: Rows, manifest: Manifest) -> Bools:
        starts_r = rows.input_offsets[:-1]
        counts_r = np.diff(rows.masked_offsets)
        chosen_t = np.zeros(len(rows.input_ids), np.bool_)
        chosen_t[np.repeat(starts_r, counts_r) + rows.masked_lm_positions] = True
        inside_t = inside_words(rows)  # the token continues the word of the token before it
        inside_t[np.concatenate([starts_r, starts_r + 1])] = False
        has_b_r = rows.segment_a_length < np.diff(rows.input_offsets)
        inside_t[(starts_r + rows.segment_a_length)[has_b_r]] = False
        cut_t = np.zeros(len(chosen_t), np.bool_)
        cut_t[1:] = inside_t[1:] & (chosen_t[1:] != chosen_t[:-1])
        # If no word is short enough, masking takes the first pieces of a word.
        first_r = rows.masked_lm_positions[rows.masked_offsets[:-1]].astype(np.int64)
        last_r = rows.masked_lm_positions[rows.masked_offsets[1:] - 1].astype(np.int64)
        begins_r = ~inside_t[starts_r + first_r] & (last_r - first_r + 1 == counts_r)
        is_beginning_r = begins_r & (counts_r == _targets(rows, config))
        broken_r: Bools = count_in_row(cut_t, rows.input_offsets) > is_beginning_r
        return broken_r

    return whole_words_are_masked


def _word_once_rule(inside_words: InsideWords) -> Rule:
    @rule("masked_lm_ids")
    def equal_words_of_a_segment_are_masked_once(rows: Rows, manifest: Manifest) -> Bools:
        counts_r = np.diff(rows.masked_offsets)
        row_m = np.repeat(np.arange(len(rows)), counts_r)
        in_b_m = rows.masked_lm_positions >= rows.segment_a_length[row_m]
        place_t_m = rows.input_offsets[:-1][row_m] + rows.masked_lm_positions.astype(np.int64)
        begins_m = np.ones(len(row_m), np.bool_)
        follows_m = (np.diff(rows.masked_lm_positions.astype(np.int64)) == 1) & (row_m[1:] == row_m[:-1])
        begins_m[1:] = ~(follows_m & inside_words(rows)[place_t_m[1:]])
        word_w = np.flatnonzero(begins_m)
        place_m = np.arange(len(row_m)) - np.repeat(word_w, np.diff(np.append(word_w, len(row_m))))
        powers_m = _HASH_BASE ** place_m.astype(np.uint64)
        hash_w = np.add.reduceat((rows.masked_lm_ids.astype(np.uint64) + np.uint64(1)) * powers_m, word_w)
        keys_w = (hash_w, in_b_m[word_w], row_m[word_w])
        order_w = np.lexsort(keys_w)
        again_w = np.ones(len(order_w) - 1, np.bool_)
        for key_w in keys_w:
            again_w &= key_w[order_w][1:] == key_w[order_w][:-1]
        broken_r = np.zeros(len(rows), np.bool_)
        broken_r[row_m[word_w][order_w][1:][again_w]] = True
        return broken_r

    return equal_words_of_a_segment_are_masked_once


def _is_structural(ids: Ints, manifest: Manifest) -> Bools:
    vocabulary = manifest.vocabulary
    return np.isin(ids, [vocabulary.pad_id, vocabulary.cls_id, vocabulary.sep_id, vocabulary.mask_id])
