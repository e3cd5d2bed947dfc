"""Random tensors for the kernels' tests, and the comparison of a result with its fp64 reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import given, strategies as st
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Largest error relative to the reference's largest element. Triton's interpreter truncates to bf16 instead of rounding,
# an error of up to 2^-7, and a gradient is rounded up to three times.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2.4e-2, torch.float16: 2e-3, torch.float64: 1e-12}
SMALLEST = 0.1  # lower bound of the largest element: a sum of terms that cancel out keeps the terms' error

# Shapes of rows, and a dropout's probability, for an operation on rows.
drawn_rows = given(
    rows=st.integers(1, 20),
    width=st.integers(3, 140),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    probability=st.sampled_from([None, 0.1, 0.5]),
    seed=st.integers(0, 2**31),
)


def untyped(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return the operation unchanged but untyped, so that a type checker allows `*tensors` before other arguments."""
    return operation


def random_tensors(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, seed: int) -> list[Tensor]:
    """Return normally distributed tensors that require gradients, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in shapes)
    return [tensor.requires_grad_() for tensor in made]


def random_gradient(result: Tensor, seed: int) -> Tensor:
    """Return a normally distributed tensor of a result's shape and dtype, the same on every device."""
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(result.shape, generator=generator, dtype=result.dtype).to(DEVICE)


def leaf_copies(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return copies in another precision, as separate leaves of the graph."""
    return [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in tensors]


def assert_near(actual: Tensor, expected: Tensor, dtype: torch.dtype, name: str = "") -> None:
    """Assert that two tensors are equal within the tolerance of `dtype`."""
    assert actual.shape == expected.shape, name
    if expected.numel():
        actual, expected = actual.detach(), expected.detach()
        largest = max(float(expected.abs().max()), SMALLEST)
        error = float((actual.double() - expected.double()).abs().max())
        assert error <= TOLERANCES[dtype] * largest, (
            f"{name}: the error is {error:.2e}, the largest element {largest:.2e}"
        )


def assert_same_gradients(actual: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Assert that each tensor's gradient has its own dtype and is near its copy's gradient."""
    for place, (tensor, copy) in enumerate(zip(actual, expected, strict=True)):
        assert tensor.grad is not None, place
        assert copy.grad is not None, place
        assert tensor.grad.dtype == dtype
        assert_near(tensor.grad, copy.grad, dtype, f"gradient {place}")
