"""Statistical tests of a data set's rows: 4σ tests of the recipe's probabilities.

Each shard is counted once. The tests run on the counts of each shard and on the sum of all shards. The probability that
one test rejects a correct data set is about that of a normal variable more than 4σ from its mean. For the tests of
single shards, the bound is wider, so that all of them together have the same probability. Small counts get the margin
of Bernstein's inequality.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import MaskingConfig, RowsConfig
from preprocessing.dataset import Rows
from preprocessing.inspection.row_rules import inputs_at_masks, original_ids
from preprocessing.inspection.word_draws import draws_words, redrawn_tenths
from preprocessing.rows import ordinary_tokens
from preprocessing.vocabulary import Vocabulary

SIGMAS = 4.0
TENTHS = 10  # parts of a row, over which masks must be distributed evenly
AUC_BOUND = 0.52  # of a segment length as a predictor of the label
ENDS_BOUND = 0.03  # of the difference in the shares of a kind of piece at an end of true and of random Bs
_SENTENCE_ENDS = frozenset(".!?…。！？．｡։۔।።។")
_KIND_NAMES = ("begin a word", "continue a word", "end a sentence", "are other punctuation")
# Spans are clustered, and cover the words at the ends of a segment less often than those between.
_SPAN_VARIANCE = 16.0
_SPAN_SHARE = 0.3

Histogram = NDArray[np.int64]


@dataclass(frozen=True)
class Deviation:
    """A statistic outside its bound: the rule that it breaks, and its value."""

    rule: str
    value: str


@dataclass(frozen=True)
class Counts:
    """The counts that the tests need. Counts of two sets of rows can be added."""

    masked: int  # positions
    as_mask: int  # of those, the ones that hold [MASK]
    kept: int  # of those, the ones that hold the original token
    could_be_drawn: int  # of those, the ones whose original is an ordinary token, which a random draw can repeat
    tenths: Histogram  # [10] masked positions by tenth of the row's ordinary tokens
    redrawn: Histogram  # [10] the same if the words are drawn again; 0 where masks are not drawn by words
    squares: Histogram  # [10] sums over the rows of the squared differences of these two
    rows_by_size: Histogram  # [ordinary tokens, masked positions] number of rows
    coins: int  # rows whose label a coin decided
    heads: int  # of those, the ones labelled 1
    lengths: Histogram  # [3, 2, length]: rows by the length of the pair, A and B, for each label
    b_ends: Histogram  # [2, 2, KINDS]: rows by the kind of B's first and of its last piece, for each label

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})


def count(
    rows: Rows,
    config: RowsConfig,
    mask_id: int,
    is_ordinary: NDArray[np.bool_],
    *,
    coins: int,
    kinds: NDArray[np.int64] | None = None,
    continues_t: NDArray[np.bool_] | None = None,
) -> Counts:
    """Count a shard's rows. `coins`: the rows whose labels are random; `kinds`: of the pieces, to count B's ends.

    `continues_t` says for each token whether it continues a word; None: masks are not drawn by words.

    Lengths and ends are counted only if all labels are random. A row without a coin was not cut to the length of
    another one.
    """
    lengths_r = np.diff(rows.input_offsets)
    ordinary_r = ordinary_tokens(lengths_r, rows.segment_a_length)
    masked_r = np.diff(rows.masked_offsets)
    inputs_m = inputs_at_masks(rows)
    # A position's number among the row's ordinary tokens, from 0.
    past_first_sep_m = rows.masked_lm_positions >= np.repeat(rows.segment_a_length, masked_r)
    rank_m = rows.masked_lm_positions.astype(np.int64) - 1 - past_first_sep_m
    rows_by_size = np.zeros((config.max_seq_length + 1, config.max_predictions_per_seq + 1), np.int64)
    np.add.at(rows_by_size, (ordinary_r, masked_r), 1)
    tenths = np.zeros((len(rows), TENTHS), np.int64)
    np.add.at(
        tenths, (np.repeat(np.arange(len(rows)), masked_r), rank_m * TENTHS // np.repeat(ordinary_r, masked_r)), 1
    )
    redrawn = np.zeros_like(tenths) if continues_t is None else redrawn_tenths(rows, config, continues_t, TENTHS)
    return Counts(
        masked=len(inputs_m),
        as_mask=int(np.count_nonzero(inputs_m == mask_id)),
        kept=int(np.count_nonzero(inputs_m == rows.masked_lm_ids)),
        could_be_drawn=int(np.count_nonzero(is_ordinary[rows.masked_lm_ids])),
        tenths=tenths.sum(axis=0),
        redrawn=redrawn.sum(axis=0),
        squares=((tenths - redrawn) ** 2).sum(axis=0) * (continues_t is not None),
        rows_by_size=rows_by_size,
        coins=coins,
        heads=int(np.count_nonzero(rows.next_sentence_label)) if coins else 0,
        lengths=_lengths_by_label(rows, lengths_r, config.max_seq_length) * (coins == len(rows)),
        b_ends=_b_ends_by_label(rows, kinds) * (coins == len(rows)),
    )


def deviations(counts: Counts, config: RowsConfig, ordinary_ids: int, tests: int) -> Iterator[Deviation]:
    """Yield the statistics outside their bounds. `tests` is the number of sets of rows that are tested."""
    z = NormalDist().inv_cdf(1 - NormalDist().cdf(-SIGMAS) / tests)
    yield from _check_replacements(counts, config, ordinary_ids, z)
    yield from _check_positions(counts, config, z)
    if config.objective == "sop" or (config.objective == "nsp" and config.nsp_mode == "balanced"):
        yield from share_deviation(counts.heads, counts.coins, 0.5, z, "half of the rows are labelled 1")
    if config.objective == "nsp" and config.nsp_mode == "balanced":
        yield from _check_lengths(counts.lengths, z)
        yield from _check_b_ends(counts.b_ends, z)


def share_deviation(found: int, trials: int, probability: float, z: float, rule: str) -> Iterator[Deviation]:
    """Yield a deviation if `found` out of `trials` is more than z·σ from its expectation."""
    variance = trials * probability * (1 - probability)
    if abs(found - trials * probability) > _bound(variance, z):
        value = f"{found:,} of {trials:,}, a share of {found / trials:.4f} where {probability:.4f} is expected"
        yield Deviation(rule, value)


def _bound(variance: float, z: float) -> float:
    """Return the largest allowed distance of a sum from its mean, for terms of at most 1. Near 0 without variance."""
    return z * sqrt(variance) + z * z / 3 if variance > 0 else 1e-6


def _check_replacements(counts: Counts, config: MaskingConfig, ordinary_ids: int, z: float) -> Iterator[Deviation]:
    if not counts.masked:
        return
    by_chance = config.random_token_prob * counts.could_be_drawn / counts.masked / max(1, ordinary_ids)
    kept = max(0.0, 1 - config.mask_token_prob - config.random_token_prob) + by_chance
    replaced = counts.masked - counts.as_mask - counts.kept
    for found, probability, what in (
        (counts.as_mask, config.mask_token_prob, "[MASK]"),
        (counts.kept, kept, "their own token"),
        (replaced, max(0.0, 1 - config.mask_token_prob - kept), "another token"),
    ):
        rule = f"masked positions hold {what} as often as requested"
        yield from share_deviation(found, counts.masked, probability, z, rule)


def _check_positions(counts: Counts, config: MaskingConfig, z: float) -> Iterator[Deviation]:
    """Test the positions. Drawing without replacement gives a hypergeometric distribution in each tenth of a row.

    Masks drawn by words are compared with those of a second draw (see `word_draws`).
    """
    tokens, masked = np.arange(counts.rows_by_size.shape[0])[:, None], np.arange(counts.rows_by_size.shape[1])
    edges = -(-tokens * np.arange(TENTHS + 1) // TENTHS)  # of n tokens, tenth t begins at ceil(n·t / 10)
    shares = np.diff(edges) / np.maximum(tokens, 1)  # [tokens, tenth]
    means = np.einsum("nk,k,nt->t", counts.rows_by_size, masked, shares)
    factors = counts.rows_by_size * masked * np.maximum(tokens - masked, 0) / np.maximum(tokens - 1, 1)
    variances = np.einsum("nk,nt->t", factors, shares * (1 - shares))
    spread, share = (_SPAN_VARIANCE, _SPAN_SHARE) if config.span_masking else (1.0, 0.0)
    if draws_words(config):
        means, variances = counts.redrawn.astype(np.float64), counts.squares.astype(np.float64)
    for tenth in range(TENTHS):
        bound = _bound(variances[tenth] * spread, z) + share * means[tenth]
        if abs(counts.tenths[tenth] - means[tenth]) > bound:
            value = f"{counts.tenths[tenth]:,} in tenth {tenth + 1}, where {means[tenth]:,.0f} are expected"
            yield Deviation("masked positions are distributed evenly over a row", value)


def _check_lengths(lengths: Histogram, z: float) -> Iterator[Deviation]:
    for name, (of_true, of_random) in zip(("the pair", "A", "B"), lengths, strict=True):
        true, random = int(of_true.sum()), int(of_random.sum())
        if not true or not random:
            continue
        wins = of_random @ (np.cumsum(of_true) - of_true / 2)  # random pairs that are longer than true ones
        area = abs(float(wins) / true / random - 0.5) + 0.5
        bound = AUC_BOUND + z * sqrt((true + random + 1) / (12 * true * random))
        if area > bound:
            rule = f"the length of {name} does not predict the label"
            yield Deviation(rule, f"AUC {area:.3f}, above {bound:.3f}")


def _check_b_ends(b_ends: Histogram, z: float) -> Iterator[Deviation]:
    """Test that each kind of piece is as frequent at an end of a random B as at that of a true one."""
    for end, (of_true, of_random) in zip(("first", "last"), b_ends, strict=True):
        true, random = int(of_true.sum()), int(of_random.sum())
        if not true or not random:
            continue
        for kind, in_true, in_random in zip(_KIND_NAMES, of_true.tolist(), of_random.tolist(), strict=True):
            share = (in_true + in_random) / (true + random)
            bound = ENDS_BOUND + z * sqrt(share * (1 - share) * (1 / true + 1 / random))
            difference = abs(in_true / true - in_random / random)
            if difference > bound:
                rule = f"the {end} piece of B does not predict the label"
                value = f"{in_true / true:.3f} of true and {in_random / random:.3f} of random ones {kind}"
                yield Deviation(rule, f"{value}; the bound of the difference is {bound:.3f}")


def kinds_of_pieces(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return for each piece its index in `_KIND_NAMES`."""
    kinds = vocabulary.is_continuation.astype(np.int64)
    for number, piece in enumerate(vocabulary.pieces):
        if len(piece) == 1 and unicodedata.category(piece).startswith("P"):
            kinds[number] = 2 if piece in _SENTENCE_ENDS else 3
    return kinds


def _b_ends_by_label(rows: Rows, kinds: NDArray[np.int64] | None) -> Histogram:
    counts = np.zeros((2, 2, len(_KIND_NAMES)), np.int64)
    has_b_r = rows.segment_a_length < np.diff(rows.input_offsets)
    if kinds is not None and has_b_r.all():
        originals = original_ids(rows)
        firsts = rows.input_offsets[:-1] + rows.segment_a_length.astype(np.int64)
        for end, places_r in enumerate((firsts, rows.input_offsets[1:] - 2)):
            np.add.at(counts[end], (rows.next_sentence_label, kinds[originals[places_r]]), 1)
    return counts


def _lengths_by_label(rows: Rows, lengths_r: NDArray[Any], most: int) -> Histogram:
    a_r = rows.segment_a_length.astype(np.int64)
    labels_r = rows.next_sentence_label.astype(np.int64)
    of_each = [
        np.bincount(labels_r * (most + 1) + length_r, minlength=2 * most + 2)
        for length_r in (lengths_r, a_r, lengths_r - a_r)
    ]
    return np.stack(of_each).reshape(3, 2, most + 1)
