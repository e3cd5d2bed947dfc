"""What tests of kernels share: random tensors, and how near a result must be to its reference in fp64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Largest error, in parts of the reference's largest element. Triton's interpreter cuts off what bf16 cannot hold, up to
# 2^-7 of a number, and a gradient is rounded up to three times.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2.4e-2, torch.float16: 2e-3, torch.float64: 1e-12}
SMALLEST = 0.1  # taken for the largest element where that is smaller: a sum of terms that cancel out keeps their error


def starred(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The same operation, which a type checker lets take `*tensors` before other arguments."""
    return operation


def random_tensors(shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, seed: int) -> list[Tensor]:
    """Normal deviates that want gradients, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    made = (torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in shapes)
    return [tensor.requires_grad_() for tensor in made]


def random_gradient(result: Tensor, seed: int) -> Tensor:
    """Normal deviates of a result's shape and dtype, the same on every device."""
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(result.shape, generator=generator, dtype=result.dtype).to(DEVICE)


def twins(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The same numbers as leaves of their own, in another precision."""
    return [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in tensors]


def assert_near(actual: Tensor, expected: Tensor, dtype: torch.dtype, what: str = "") -> None:
    """Equal within what `dtype` can hold."""
    assert actual.shape == expected.shape, what
    if expected.numel():
        actual, expected = actual.detach(), expected.detach()
        largest = max(float(expected.abs().max()), SMALLEST)
        error = float((actual.double() - expected.double()).abs().max())
        assert error <= TOLERANCES[dtype] * largest, f"{what}: off by {error:.2e} where the largest is {largest:.2e}"


def assert_same_gradients(actual: Sequence[Tensor], expected: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Each tensor's gradient has its own dtype and is near its twin's."""
    for place, (tensor, twin) in enumerate(zip(actual, expected, strict=True)):
        assert tensor.grad is not None, place
        assert twin.grad is not None, place
        assert tensor.grad.dtype == dtype
        assert_near(tensor.grad, twin.grad, dtype, f"gradient {place}")
