"""LayerNorm of a row that lies in registers; columns beyond its width hold zeros."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# Kernels take what Triton passes them: pointers and blocks have no Python types, and Triton ships none.

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def normalise(hidden, inside, width, epsilon):
    """The row with mean 0 and variance 1, its mean, and its inverse standard deviation. Two passes: no cancellation."""
    mean = tl.sum(hidden) / width
    centred = tl.where(inside, hidden - mean, 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred) / width + epsilon)
    return centred * inverse, mean, inverse


@triton.jit
def normalise_backward(grad, normed, inverse, width):
    """The gradient of a row from that of its normalised self."""
    return (grad - tl.sum(grad) / width - normed * (tl.sum(grad * normed) / width)) * inverse
