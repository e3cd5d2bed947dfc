"""Masked-LM positions and what stands there (Devlin et al. 2019, section 3.1), for all rows at once.

Of a row's tokens, specials included, `masked_lm_prob` are to be predicted: rounded to even as published, one at least,
at most `max_predictions_per_seq`, and never [CLS] or [SEP]. They are chosen one by one, all alike; or by whole words,
as Google's later models have it, where a word that would be one piece too many is passed over. Of the chosen tokens
most become [MASK], some another ordinary token (never a special one or an unused slot), the rest stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from configs.errors import UserError
from configs.schema import MaskingConfig
from preprocessing.dataset import IntArray, Rows
from preprocessing.rows.pairs import SPECIAL_TOKENS_OF_A_PAIR, SPECIAL_TOKENS_OF_ONE_SEGMENT, Pairs
from preprocessing.rows.randomness import RandomState, absorb, draw_below, draw_fraction
from preprocessing.vocabulary import MASK, Vocabulary

_MOST_TOKENS = 2**31 - 1  # a shard's offsets are int32


def mask_pairs(pairs: Pairs, config: MaskingConfig, vocabulary: Vocabulary, pass_number: int) -> Rows:
    """The pairs with one pass's masks, as rows of a shard. Each row's masks hang on its key and the pass alone."""
    if len(pairs.input_ids) > _MOST_TOKENS:
        raise UserError(
            f"a group holds {len(pairs.input_ids)} tokens, but a shard at most {_MOST_TOKENS}",
            fix="lower data.group_bytes, or cut the longest documents",
        )
    lengths = np.diff(pairs.input_offsets)
    ordinary = ordinary_tokens(lengths, pairs.segment_a_length)
    wanted = predictions(lengths, ordinary, config.masked_lm_prob, config.max_predictions_per_seq)
    goes_on = vocabulary.is_continuation if config.whole_word_masking else np.zeros(len(vocabulary), np.bool_)
    input_ids, positions, originals, masked_offsets = _mask(
        pairs.input_ids,
        pairs.input_offsets,
        pairs.segment_a_length,
        wanted,
        pairs.keys,
        np.uint64(pass_number),
        goes_on,
        config.mask_word_once,
        config.mask_token_prob,
        config.random_token_prob,
        vocabulary.ordinary_ids,
        vocabulary.ids[MASK],
    )
    return Rows(
        input_ids=input_ids,
        input_offsets=pairs.input_offsets.astype(np.int32),
        segment_a_length=pairs.segment_a_length,
        masked_lm_positions=positions,
        masked_lm_ids=originals,
        masked_offsets=masked_offsets,
        next_sentence_label=pairs.next_sentence_label,
    )


def ordinary_tokens(lengths: NDArray[np.integer], segment_a_length: NDArray[np.integer]) -> NDArray[np.int64]:
    """How many tokens of rows of these lengths are no [CLS] or [SEP]; a row of one segment is all A."""
    special = np.where(segment_a_length == lengths, SPECIAL_TOKENS_OF_ONE_SEGMENT, SPECIAL_TOKENS_OF_A_PAIR)
    return lengths.astype(np.int64) - special


def predictions(
    lengths: NDArray[np.int64], ordinary: NDArray[np.int64], masked_lm_prob: float, most: int
) -> NDArray[np.int64]:
    """How many tokens of rows of these lengths, and with so many ordinary tokens, are predicted."""
    wanted = np.rint(lengths * masked_lm_prob).astype(np.int64)
    counts: NDArray[np.int64] = np.minimum(np.clip(wanted, 1, most), ordinary)
    return counts


@compiled
def _mask(
    input_ids: IntArray,
    offsets: NDArray[np.int64],
    segment_a_length: NDArray[np.uint16],
    wanted: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    goes_on: NDArray[np.bool_],
    once: bool,
    mask_token_prob: float,
    random_token_prob: float,
    ordinary_ids: IntArray,
    mask_id: int,
) -> tuple[IntArray, NDArray[np.uint16], IntArray, NDArray[np.int32]]:
    """The masked ids, the positions, the original ids there, and their offsets by row."""
    masked = input_ids.copy()
    positions = np.empty(wanted.sum(), np.uint16)
    originals = np.empty(len(positions), input_ids.dtype)
    masked_offsets = np.zeros(len(keys) + 1, np.int32)
    longest = np.diff(offsets).max() if len(keys) else 0
    words = np.empty((longest, 2), np.int64)  # where a word begins and ends
    chosen = np.zeros(longest, np.bool_)
    state = np.empty(1, np.uint64)
    place = 0
    for row in range(len(keys)):
        state[0] = absorb(keys[row], pass_number)
        tokens = input_ids[offsets[row] : offsets[row + 1]]
        border = segment_a_length[row]
        count = _find_words(tokens, border, goes_on, words)
        _choose(state, tokens, border, words[:count], wanted[row], once, chosen)
        for position in range(1, len(tokens) - 1):
            if chosen[position]:
                chosen[position] = False
                positions[place] = position
                originals[place] = tokens[position]
                place += 1
                fate = draw_fraction(state)
                if fate < mask_token_prob:
                    masked[offsets[row] + position] = mask_id
                elif fate < mask_token_prob + random_token_prob:
                    masked[offsets[row] + position] = ordinary_ids[draw_below(state, len(ordinary_ids))]
        masked_offsets[row + 1] = place
    return masked, positions[:place].copy(), originals[:place].copy(), masked_offsets


@compiled
def _find_words(tokens: IntArray, border: int, goes_on: NDArray[np.bool_], words: NDArray[np.int64]) -> int:
    """Fill `words` with the row's words: a token, and those after it that go on. A segment begins with a word."""
    count = 0
    is_first = True
    for position in range(1, len(tokens) - 1):
        if position == border - 1:
            is_first = True
            continue
        if is_first or not goes_on[tokens[position]]:
            words[count, 0] = position
            count += 1
        words[count - 1, 1] = position + 1
        is_first = False
    return count


@compiled
def _choose(
    state: RandomState,
    tokens: IntArray,
    border: int,
    words: NDArray[np.int64],
    wanted: int,
    once: bool,
    chosen: NDArray[np.bool_],
) -> None:
    """Mark the tokens of random words, `wanted` of them at most, one at least. Chosen words are moved to the front.

    Where no word is short enough, the first pieces of one are taken.
    """
    taken = kept = 0
    for nth in range(len(words)):
        if taken == wanted:
            return
        other = nth + draw_below(state, len(words) - nth)
        begin, end = words[other, 0], words[other, 1]
        words[other, 0], words[other, 1] = words[nth, 0], words[nth, 1]
        words[nth, 0], words[nth, 1] = begin, end
        if taken + end - begin > wanted or (once and _stands_among(tokens, border, words[:kept], begin, end)):
            continue
        words[nth, 0], words[nth, 1] = words[kept, 0], words[kept, 1]
        words[kept, 0], words[kept, 1] = begin, end
        kept += 1
        taken += end - begin
        chosen[begin:end] = True
    if taken == 0:
        chosen[words[0, 0] : words[0, 0] + wanted] = True


@compiled
def _stands_among(tokens: IntArray, border: int, words: NDArray[np.int64], begin: int, end: int) -> bool:
    """Whether one of the words is equal and of the same segment."""
    for nth in range(len(words)):
        first, last = words[nth, 0], words[nth, 1]
        if last - first != end - begin or (first < border) != (begin < border):
            continue
        equal = True
        for offset in range(end - begin):
            equal = equal and tokens[first + offset] == tokens[begin + offset]
        if equal:
            return True
    return False
