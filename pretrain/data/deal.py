"""Deal a global batch to ranks and micro-batches: equal row counts, near equal token counts, no communication.

Every rank knows all lengths and runs the same integer arithmetic, so that all ranks compute the same deal.
"""

from __future__ import annotations

import numpy as np

from pretrain.data.order import Int64Array


def gradient_accumulation_steps(global_batch_size: int, world_size: int, micro_batch_size: int) -> int:
    """Return the number of micro-batches per step and rank: the fewest with at most `micro_batch_size` rows each."""
    return -(-global_batch_size // (world_size * micro_batch_size))


def deal(
    lengths: Int64Array, world_size: int, micro_batch_size: int, micro_batch_tokens: int = 0
) -> tuple[Int64Array, int]:
    """Assign each of G rows to a micro-batch: `rank * accumulation + micro-step`, shape [G]; and the accumulation.

    Row counts differ by at most 1 between ranks, and between micro-batches. Tokens are balanced by the
    longest-processing-time rule (Graham 1969): each round gives every micro-batch one of the longest remaining rows,
    and the longest of them goes to the micro-batch with the fewest tokens so far.

    With `micro_batch_tokens`, which are not fewer than a row's, this rule deals rows to ranks only. Each rank packs its
    own into as few micro-batches as it needs: the longest first, each into the first one with room (Johnson 1974), with
    at most `micro_batch_size` rows. The rank that needs the most determines the accumulation.
    """
    if not micro_batch_tokens:
        accumulation = gradient_accumulation_steps(len(lengths), world_size, micro_batch_size)
        return _balance(lengths, world_size, accumulation), accumulation
    from pretrain.data.gather import pack  # a compiled loop beside torch, which a login node may lack

    rank_of, micro_of = _balance(lengths, world_size, 1), np.empty(len(lengths), np.int64)
    longest_first = np.argsort(-lengths, kind="stable")
    accumulation = pack(lengths, longest_first, rank_of, micro_of, world_size, micro_batch_size, micro_batch_tokens)
    return rank_of * accumulation + micro_of, accumulation


def _balance(lengths: Int64Array, world_size: int, accumulation: int) -> Int64Array:
    rows_of = _row_counts(len(lengths), world_size, accumulation)
    if len(rows_of) == 1:
        return np.zeros(len(lengths), np.int64)
    tokens_of = np.zeros(len(rows_of), np.int64)
    longest_first = np.argsort(-lengths, kind="stable")
    home = np.empty(len(lengths), np.int64)
    begin, every, fuller = 0, np.arange(len(rows_of)), np.flatnonzero(rows_of > rows_of.min())
    for takers in [every] * int(rows_of.min()) + [fuller]:
        emptiest_first = takers[np.argsort(tokens_of[takers], kind="stable")]
        dealt = longest_first[begin : begin + len(takers)]
        home[dealt] = emptiest_first
        tokens_of[emptiest_first] += lengths[dealt]
        begin += len(takers)
    return home


def _row_counts(rows: int, world_size: int, accumulation: int) -> Int64Array:
    """Return the number of rows of each micro-batch, ordered by rank; shape [world_size * accumulation]."""
    of_rank = rows // world_size + (np.arange(world_size) < rows % world_size)
    extra = np.arange(accumulation) < (of_rank % accumulation)[:, None]
    return np.asarray(of_rank[:, None] // accumulation + extra, np.int64).ravel()
