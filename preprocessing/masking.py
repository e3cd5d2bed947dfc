"""Masked-LM positions and what stands there (Devlin et al. 2019, section 3.1), for all rows at once.

Of a row's tokens, specials included, `masked_lm_prob` are to be predicted: rounded to even as published, one at least,
at most `max_predictions_per_seq`, and never [CLS] or [SEP]. Of the chosen tokens most become [MASK], some another
ordinary token (never a special one or an unused slot), the rest stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.compiled import compiled
from preprocessing.contract import IntArray, Rows
from preprocessing.pairs import SPECIAL_TOKENS_OF_A_PAIR, Pairs
from preprocessing.randomness import absorb, draw_below, draw_fraction
from preprocessing.vocabulary import MASK, Vocabulary

_MOST_TOKENS = 2**31 - 1  # a shard's offsets are int32


def mask_pairs(pairs: Pairs, config: DataConfig, vocabulary: Vocabulary, pass_number: int) -> Rows:
    """The pairs with one pass's masks, as rows of a shard. Each row's masks hang on its key and the pass alone."""
    if len(pairs.input_ids) > _MOST_TOKENS:
        raise UserError(
            f"a group holds {len(pairs.input_ids)} tokens, but a shard at most {_MOST_TOKENS}",
            mend="lower data.group_bytes, or cut the longest documents",
        )
    counts = predictions(np.diff(pairs.input_offsets), config.masked_lm_prob, config.max_predictions_per_seq)
    masked_offsets = np.append(0, np.cumsum(counts))
    input_ids, positions, originals = _mask(
        pairs.input_ids,
        pairs.input_offsets,
        pairs.segment_a_length,
        masked_offsets,
        pairs.keys,
        np.uint64(pass_number),
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
        masked_offsets=masked_offsets.astype(np.int32),
        next_sentence_label=pairs.next_sentence_label,
    )


def predictions(lengths: NDArray[np.int64], masked_lm_prob: float, most: int) -> NDArray[np.int64]:
    """How many tokens of rows of these lengths are predicted."""
    wanted = np.rint(lengths * masked_lm_prob).astype(np.int64)
    counts: NDArray[np.int64] = np.minimum(np.clip(wanted, 1, most), lengths - SPECIAL_TOKENS_OF_A_PAIR)
    return counts


@compiled
def _mask(
    input_ids: IntArray,
    offsets: NDArray[np.int64],
    segment_a_length: NDArray[np.uint16],
    masked_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    mask_token_prob: float,
    random_token_prob: float,
    ordinary_ids: IntArray,
    mask_id: int,
) -> tuple[IntArray, NDArray[np.uint16], IntArray]:
    """The masked ids, the positions and the original ids there.

    Positions come by selection sampling (Knuth, volume 2, algorithm S): each token in turn is taken with the
    probability that makes all sets equally likely, so they are ascending without a sort.
    """
    masked = input_ids.copy()
    positions = np.empty(masked_offsets[-1], np.uint16)
    originals = np.empty(masked_offsets[-1], input_ids.dtype)
    state = np.empty(1, np.uint64)
    for row in range(len(keys)):
        state[0] = absorb(keys[row], pass_number)
        length = offsets[row + 1] - offsets[row]
        place, end = masked_offsets[row], masked_offsets[row + 1]
        left = length - SPECIAL_TOKENS_OF_A_PAIR
        for position in range(1, length - 1):
            if position == segment_a_length[row] - 1:
                continue
            if draw_below(state, left) < end - place:
                token = offsets[row] + position
                positions[place] = position
                originals[place] = input_ids[token]
                place += 1
                fate = draw_fraction(state)
                if fate < mask_token_prob:
                    masked[token] = mask_id
                elif fate < mask_token_prob + random_token_prob:
                    masked[token] = ordinary_ids[draw_below(state, len(ordinary_ids))]
            left -= 1
    return masked, positions, originals
