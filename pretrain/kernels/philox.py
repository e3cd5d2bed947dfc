"""Philox4x32 with seven rounds: its torch implementation, and the constants that torch, the CPU loop and Triton share.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; seven rounds are the fewest that pass BigCrush.
A call maps a counter of four 32-bit words and a key of two to four random words. Dropout uses each word as two numbers
of 15 bits (`LANE_BITS`), so one call decides about eight rows (`LANES`).
"""

from __future__ import annotations

from torch import Tensor

ROUNDS = 7
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
LOW_32 = 0xFFFFFFFF
LANES = 8
LANE_BITS = 15
HALF = (1 << LANE_BITS) - 1


def philox(counter: tuple[Tensor, ...], key: tuple[Tensor, Tensor], rounds: int = ROUNDS) -> tuple[Tensor, ...]:
    """Return four int64 tensors of random 32-bit words from a counter of four words and a key of two, broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        product_0, product_1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # the low 64 bits: int64 overflow wraps
        c0, c1 = (product_1 >> 32 & LOW_32) ^ c1 ^ k0, product_1 & LOW_32
        c2, c3 = (product_0 >> 32 & LOW_32) ^ c3 ^ k1, product_0 & LOW_32
        k0, k1 = k0 + KEY_INCREMENTS[0] & LOW_32, k1 + KEY_INCREMENTS[1] & LOW_32
    return c0, c1, c2, c3
