"""LayerNorm of a row in registers; columns beyond its width hold zeros."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def normalise(hidden, inside, width, epsilon):
    """Return the row scaled to mean 0 and variance 1, its mean, and its inverse standard deviation.

    Computes the variance from centred values, to avoid cancellation.
    """
    mean = tl.sum(hidden) / width
    centred = tl.where(inside, hidden - mean, 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred) / width + epsilon)
    return centred * inverse, mean, inverse


@triton.jit
def normalise_backward(grad, normed, inverse, width):
    """Return the gradient of a row from the gradient of its normalised form."""
    return (grad - tl.sum(grad) / width - normed * (tl.sum(grad * normed) / width)) * inverse
