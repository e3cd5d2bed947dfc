"""Choose masked-LM positions and replace their tokens (Devlin et al. 2019, section 3.1), for all rows at once.

The fraction `masked_lm_prob` of a row's tokens, special tokens included, is predicted: rounded half to even as in the
published code, at least one, at most `max_predictions_per_seq`, and never [CLS] or [SEP]. Tokens are chosen one by one
with equal probability, or by whole words as in Google's later models; a word with more pieces than remain is skipped.
Or they are chosen by spans of consecutive words, whose lengths follow a geometric distribution (Joshi et al. 2020).
Most chosen tokens become [MASK], some become another ordinary token (never a special token or an unused slot), and the
rest stay unchanged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from configs.errors import UserError
from configs.schema import MaskingConfig
from preprocessing.dataset import IntArray, Rows
from preprocessing.rows.pairs import Pairs
from preprocessing.rows.planning import SPECIAL_TOKENS_OF_A_PAIR, SPECIAL_TOKENS_OF_ONE_SEGMENT
from preprocessing.rows.randomness import RandomState, absorb, draw_below, draw_fraction
from preprocessing.vocabulary import MASK, Vocabulary, continues_word

_MOST_SPAN_WORDS, _SPAN_END = 10, 0.2  # SpanBERT's: 3.8 words on average
_SPAN_TRIES = 4  # per word of a row; then single words are added
_MAX_TOKENS = 2**31 - 1  # a shard's offsets are int32


def mask_pairs(pairs: Pairs, config: MaskingConfig, vocabulary: Vocabulary, pass_number: int) -> Rows:
    """Return the pairs with the masks of one pass, as rows of a shard.

    The masks of a row depend only on its key and the pass. Raises `UserError` if the group has too many tokens for a
    shard.
    """
    if len(pairs.input_ids) > _MAX_TOKENS:
        raise UserError(
            f"a group holds {len(pairs.input_ids)} tokens, but a shard holds at most {_MAX_TOKENS}",
            fix="lower data.group_bytes, or split the longest documents",
        )
    lengths = np.diff(pairs.input_offsets)
    ordinary = ordinary_tokens(lengths, pairs.segment_a_length)
    to_predict = predictions(lengths, ordinary, config.masked_lm_prob, config.max_predictions_per_seq)
    input_ids, positions, originals, masked_offsets = _mask(
        pairs.input_ids,
        pairs.input_offsets,
        pairs.segment_a_length,
        to_predict,
        pairs.keys,
        np.uint64(pass_number),
        continues_word(pairs.input_ids, vocabulary, config),
        not (config.whole_word_masking or config.span_masking or config.mask_word_once),
        config.mask_word_once,
        config.span_masking,
        config.mask_token_prob,
        config.random_token_prob,
        vocabulary.ordinary_ids,
        vocabulary.id_of(MASK),
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
    """Return the number of tokens per row other than [CLS] and [SEP]. A row with one segment has no segment B."""
    special = np.where(segment_a_length == lengths, SPECIAL_TOKENS_OF_ONE_SEGMENT, SPECIAL_TOKENS_OF_A_PAIR)
    return lengths.astype(np.int64) - special


def predictions(
    lengths: NDArray[np.int64], ordinary: NDArray[np.int64], masked_lm_prob: float, max_predictions: int
) -> NDArray[np.int64]:
    """Return the number of predicted tokens per row, from the rows' lengths and numbers of ordinary tokens."""
    expected = np.rint(lengths * masked_lm_prob).astype(np.int64)
    counts: NDArray[np.int64] = np.minimum(np.clip(expected, 1, max_predictions), ordinary)
    return counts


@compiled
def _mask(
    input_ids: IntArray,
    offsets: NDArray[np.int64],
    segment_a_length: NDArray[np.uint16],
    to_predict: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    continues: NDArray[np.bool_],
    single_tokens: bool,
    mask_word_once: bool,
    span_masking: bool,
    mask_token_prob: float,
    random_token_prob: float,
    ordinary_ids: IntArray,
    mask_id: int,
) -> tuple[IntArray, NDArray[np.uint16], IntArray, NDArray[np.int32]]:
    """Return the masked ids, the masked positions, the original ids at them, and the offsets per row."""
    masked = input_ids.copy()
    positions = np.empty(to_predict.sum(), np.uint16)
    originals = np.empty(len(positions), input_ids.dtype)
    masked_offsets = np.zeros(len(keys) + 1, np.int32)
    longest = np.diff(offsets).max() if len(keys) else 0
    words = np.empty((longest, 2), np.int64)  # begin and end of each word
    order, others = np.arange(longest), np.empty(longest, np.int64)
    chosen = np.zeros(longest, np.bool_)
    state = np.empty(1, np.uint64)
    index = 0
    for row in range(len(keys)):
        state[0] = absorb(keys[row], pass_number)
        tokens = input_ids[offsets[row] : offsets[row + 1]]
        border = segment_a_length[row]
        if single_tokens:
            _choose_tokens(state, border, len(tokens), to_predict[row], order, others, chosen)
        else:
            count = _find_words(len(tokens), border, continues[offsets[row] : offsets[row + 1]], words)
            if span_masking:
                _choose_spans(state, border, words[:count], to_predict[row], chosen)
            else:
                _choose(state, tokens, border, words[:count], to_predict[row], mask_word_once, chosen)
        for position in range(1, len(tokens) - 1):
            if chosen[position]:
                chosen[position] = False
                positions[index] = position
                originals[index] = tokens[position]
                index += 1
                draw = draw_fraction(state)
                if draw < mask_token_prob:
                    masked[offsets[row] + position] = mask_id
                elif draw < mask_token_prob + random_token_prob:
                    masked[offsets[row] + position] = ordinary_ids[draw_below(state, len(ordinary_ids))]
        masked_offsets[row + 1] = index
    return masked, positions[:index].copy(), originals[:index].copy(), masked_offsets


@compiled
def _choose_tokens(
    state: RandomState,
    border: int,
    length: int,
    to_predict: int,
    order: NDArray[np.int64],
    others: NDArray[np.int64],
    chosen: NDArray[np.bool_],
) -> None:
    """Mark `to_predict` random tokens: what `_choose` does if each word is one token, in a third of its time.

    `order` is 0, 1, 2, …, before and after the call, so that a row costs as many turns as it has predictions.
    """
    ordinary = length - 2 if border == length else length - 3
    for nth in range(to_predict):
        other = nth + draw_below(state, ordinary - nth)
        others[nth] = other
        word = order[other]
        order[other] = order[nth]
        chosen[word + (1 if word < border - 2 else 2)] = True
    for nth in range(to_predict):
        order[others[nth]] = others[nth]


@compiled
def _find_words(length: int, border: int, continues: NDArray[np.bool_], words: NDArray[np.int64]) -> int:
    """Fill `words` with the row's words and return their number.

    A word is a token and those after it that continue it. Each segment begins with a new word.
    """
    count = 0
    is_first = True
    for position in range(1, length - 1):
        if position == border - 1:
            is_first = True
            continue
        if is_first or not continues[position]:
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
    to_predict: int,
    mask_word_once: bool,
    chosen: NDArray[np.bool_],
) -> None:
    """Mark the tokens of random words: at least one and at most `to_predict` tokens. Moves chosen words to the front.

    If no word is short enough, the first pieces of one word are chosen.
    """
    taken = kept = 0
    for nth in range(len(words)):
        if taken == to_predict:
            return
        other = nth + draw_below(state, len(words) - nth)
        begin, end = words[other, 0], words[other, 1]
        words[other, 0], words[other, 1] = words[nth, 0], words[nth, 1]
        words[nth, 0], words[nth, 1] = begin, end
        if taken + end - begin > to_predict or (mask_word_once and _contains(tokens, border, words[:kept], begin, end)):
            continue
        words[nth, 0], words[nth, 1] = words[kept, 0], words[kept, 1]
        words[kept, 0], words[kept, 1] = begin, end
        kept += 1
        taken += end - begin
        chosen[begin:end] = True
    if taken == 0:
        chosen[words[0, 0] : words[0, 0] + to_predict] = True


@compiled
def _choose_spans(
    state: RandomState, border: int, words: NDArray[np.int64], to_predict: int, chosen: NDArray[np.bool_]
) -> None:
    """Mark random spans of words of one segment: at least one and at most `to_predict` tokens.

    The last span is cut where the next word does not fit. If single words are masked whole, fewer tokens than requested
    can be left over; they stay.
    """
    taken = 0
    for _ in range(_SPAN_TRIES * len(words)):
        if taken == to_predict:
            return
        length = _span_length(state)
        begin = draw_below(state, len(words))
        for nth in range(begin, min(begin + length, len(words))):
            first, last = words[nth, 0], words[nth, 1]
            if taken + last - first > to_predict or (first >= border) != (words[begin, 0] >= border):
                break
            if not chosen[first]:
                chosen[first:last] = True
                taken += last - first
    begin = draw_below(state, len(words))
    for place in range(len(words)):
        first, last = words[(begin + place) % len(words)]
        if not chosen[first] and taken + last - first <= to_predict:
            chosen[first:last] = True
            taken += last - first
    if taken == 0:
        chosen[words[begin, 0] : words[begin, 0] + to_predict] = True


@compiled
def _span_length(state: RandomState) -> int:
    """Return a length from 1 to `_MOST_SPAN_WORDS`, of a geometric distribution without the longer ones."""
    while True:
        length = 1
        while length <= _MOST_SPAN_WORDS and draw_fraction(state) >= _SPAN_END:
            length += 1
        if length <= _MOST_SPAN_WORDS:
            return length


@compiled
def _contains(tokens: IntArray, border: int, words: NDArray[np.int64], begin: int, end: int) -> bool:
    """Return whether one of `words` has the same tokens and is in the same segment."""
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
