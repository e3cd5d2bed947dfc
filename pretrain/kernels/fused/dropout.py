"""Philox dropout inside a kernel: `pretrain/kernels/dropout.py` states the same function in plain torch."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped, import-not-found"
# Kernels take what Triton passes them: pointers and blocks have no Python types, and Triton ships none.

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pretrain.kernels.dropout import LANES, ROUNDS, Dropout

GROUP = tl.constexpr(LANES)
_ROUNDS = tl.constexpr(ROUNDS)


def launch_arguments(dropout: Dropout | None, placeholder: Tensor) -> tuple[Tensor, int, int, float]:
    """Seed, site, threshold and scale for a kernel; without dropout it looks at none of them."""
    if dropout is None:
        return placeholder, 0, 0, 1.0
    return dropout.seed, dropout.site, dropout.threshold, dropout.scale


@triton.jit
def keep_bits(seed_ptr, site, group, columns, threshold):
    """The fate of a group's rows: bit i of a column is 1 where row i of the group is kept.

    One word a column instead of Philox's four leaves the registers to the rows.
    """
    zero = columns * 0
    w0, w1, w2, w3 = tl.philox(tl.load(seed_ptr), columns, zero + group, zero + site, zero, _ROUNDS)
    low = _pair(w0, threshold) | _pair(w1, threshold) << 2
    return low | _pair(w2, threshold) << 4 | _pair(w3, threshold) << 6


@triton.jit
def _pair(word, threshold):
    low = (word & 0xFFFF).to(tl.int32)
    high = (word >> 16).to(tl.int32)
    return (low >= threshold).to(tl.int32) | (high >= threshold).to(tl.int32) << 1


@triton.jit
def dropped(value, bits, lane, scale):
    """`value` of row `lane` of the group after dropout."""
    return tl.where((bits >> lane) & 1 != 0, value * scale, 0.0)
