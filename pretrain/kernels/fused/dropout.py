"""Philox dropout inside a kernel: the Triton form of the function in `pretrain/kernels/dropout.py`."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pretrain.kernels.dropout import Dropout
from pretrain.kernels.philox import KEY_INCREMENTS, LANES, MULTIPLIERS, ROUNDS

GROUP = tl.constexpr(LANES)
_ROUNDS = tl.constexpr(ROUNDS)
_MULTIPLIER_0, _MULTIPLIER_1 = map(tl.constexpr, MULTIPLIERS)
_INCREMENT_0, _INCREMENT_1 = map(tl.constexpr, KEY_INCREMENTS)


def launch_arguments(dropout: Dropout | None, placeholder: Tensor) -> tuple[Tensor, int, int, float]:
    """Return seed, site, threshold and scale for a kernel; without dropout the kernel uses none of them."""
    if dropout is None:
        return placeholder, 0, 0, 1.0
    return dropout.seed, dropout.site, dropout.threshold, dropout.scale


@triton.jit
def keep_bits(seed_ptr, site, group, columns, threshold):
    """Return which elements of a group of rows are kept, as one word per column; `apply_dropout` reads it.

    One addition compares the two 15-bit numbers of a Philox word with the threshold: it carries into bit 15 or 31 where
    a number is at least the threshold. The carries of all four words are packed into one, to save registers.
    """
    c0 = columns.to(tl.uint32)
    w0, w1, w2, w3 = _philox(c0, c0 * 0 + group, c0 * 0 + site, tl.load(seed_ptr))
    carry = (32768 - threshold).to(tl.uint32) * 0x00010001
    bits = (w0 & 0x7FFF7FFF) + carry & 0x80008000
    bits |= ((w1 & 0x7FFF7FFF) + carry & 0x80008000) >> 1
    bits |= ((w2 & 0x7FFF7FFF) + carry & 0x80008000) >> 2
    bits |= ((w3 & 0x7FFF7FFF) + carry & 0x80008000) >> 3
    return bits.to(tl.int32, bitcast=True)


@triton.jit
def _philox(c0, c1, c2, seed):
    """Return four words for the counter (c0, c1, c2, 0).

    A 64-bit product is one instruction here; `tl.philox` uses two.
    """
    k0, k1 = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    c1, c2, c3 = c1.to(tl.uint32), c2.to(tl.uint32), c0 * 0
    for _ in tl.static_range(_ROUNDS):
        product_0 = c0.to(tl.uint64) * _MULTIPLIER_0
        product_1 = c2.to(tl.uint64) * _MULTIPLIER_1
        c0, c1 = (product_1 >> 32).to(tl.uint32) ^ c1 ^ k0, product_1.to(tl.uint32)
        c2, c3 = (product_0 >> 32).to(tl.uint32) ^ c3 ^ k1, product_0.to(tl.uint32)
        k0, k1 = k0 + _INCREMENT_0, k1 + _INCREMENT_1
    return c0, c1, c2, c3


@triton.jit
def apply_dropout(value, bits, lane, scale):
    """Return `value`, which belongs to row `lane` of the group, after dropout."""
    place = tl.where(lane < 4, 15, 35) - lane
    return tl.where(bits & (1 << place) != 0, value * scale, 0.0)
