"""Masks of whole words, drawn again: what the distribution of a row's masked words is compared with.

A word with more tokens than a row has left is skipped, so short words are masked more often than long ones, and where
they stand in a row depends on the text: the last word is often a full stop. No formula gives the shares. The same words
are drawn a second time instead, independently of the code that chose the masks. Of a correct data set, the difference
of the two counts of a row has mean 0 and any sign with equal probability.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from configs.schema import MaskingConfig, RowsConfig
from preprocessing.dataset import IntArray, Rows
from preprocessing.inspection.row_rules import Bools, Ints, original_ids
from preprocessing.rows import ordinary_tokens, predictions

_HASH_BASE = np.uint64(0x9E3779B97F4A7C15)


def draws_words(config: MaskingConfig) -> bool:
    """Return whether masks are drawn by words, each at most once, or whole."""
    return (config.whole_word_masking or config.mask_word_once) and not config.span_masking


def redrawn_tenths(rows: Rows, config: RowsConfig, continues_t: Bools, tenths: int) -> Ints:
    """Return for each row the masked positions by tenth of its ordinary tokens, if they are drawn again [row, tenth].

    `continues_t` says for each token whether it continues the word before it. The draws depend on the rows alone.
    """
    lengths_r = np.diff(rows.input_offsets).astype(np.int64)
    ordinary_r = ordinary_tokens(lengths_r, rows.segment_a_length)
    wanted_r = predictions(lengths_r, ordinary_r, config.masked_lm_prob, config.max_predictions_per_seq)
    ids = original_ids(rows)
    draws_t = np.random.default_rng(zlib.crc32(rows.input_ids.tobytes())).random(len(ids))
    once = config.mask_word_once
    return _redraw(ids, rows.input_offsets, rows.segment_a_length, wanted_r, continues_t, draws_t, once, tenths)


@compiled
def _redraw(
    ids: IntArray,
    offsets: NDArray[np.int32],
    segment_a_length: NDArray[np.uint16],
    wanted: NDArray[np.int64],
    continues: Bools,
    draws: NDArray[np.float64],
    once: bool,
    tenths: int,
) -> Ints:
    """Take each row's words in the order of their draws, as long as they fit.

    The function is long because numba compiles it as one loop over the tokens of a row.
    """
    counts = np.zeros((len(wanted), tenths), np.int64)
    for row in range(len(wanted)):
        length, border = offsets[row + 1] - offsets[row], np.int64(segment_a_length[row])
        ordinary = length - (2 if border == length else 3)
        begins, ends = np.zeros(length, np.int64), np.zeros(length, np.int64)  # of each word, in ordinary tokens
        hashes, order = np.zeros(length, np.uint64), np.ones(length)
        words = 0
        for place in range(1, length - 1):
            if place == border - 1:
                continue
            token = offsets[row] + place
            rank = place - 1 if place < border else place - 2
            if place == 1 or place == border or not continues[token]:
                begins[words], order[words] = rank, draws[token]
                hashes[words] = np.uint64(place >= border)
                words += 1
            ends[words - 1] = rank + 1
            hashes[words - 1] = (hashes[words - 1] + np.uint64(ids[token]) + np.uint64(1)) * _HASH_BASE
        taken, kept = 0, np.zeros(words, np.uint64)
        number = 0
        ordered = np.argsort(order[:words])
        for word in ordered:
            size = ends[word] - begins[word]
            if taken + size > wanted[row] or (once and np.any(kept[:number] == hashes[word])):
                continue
            kept[number] = hashes[word]
            number += 1
            taken += size
            for rank in range(begins[word], ends[word]):
                counts[row, rank * tenths // ordinary] += 1
        if taken == 0 and words:  # no word fits: the first tokens of one
            for rank in range(begins[ordered[0]], begins[ordered[0]] + wanted[row]):
                counts[row, rank * tenths // ordinary] += 1
    return counts
