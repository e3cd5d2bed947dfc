"""Philox4x32 with seven rounds: the constants that torch, the CPU loop, and Triton share, and the torch form.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; seven rounds are the fewest that pass BigCrush.
A call turns a counter of four 32-bit words into four random words under a key of two. Dropout uses them as numbers of
15 bits, two a word (`LANE_BITS`), so one call decides about eight rows (`LANES`).
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
    """Philox4x32: four int64 tensors of 32-bit words from a counter of four and a key of two, which broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        product_0, product_1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # low 64 bits; int64 wraps, the bits are right
        c0, c1 = (product_1 >> 32 & LOW_32) ^ c1 ^ k0, product_1 & LOW_32
        c2, c3 = (product_0 >> 32 & LOW_32) ^ c3 ^ k1, product_0 & LOW_32
        k0, k1 = k0 + KEY_INCREMENTS[0] & LOW_32, k1 + KEY_INCREMENTS[1] & LOW_32
    return c0, c1, c2, c3
