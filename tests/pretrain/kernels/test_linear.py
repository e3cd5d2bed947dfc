"""The fused linear layer: gradients, and what differs from torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.kernels.linear import fused_linear, linear
from tests.pretrain.kernels.near import random_tensors

SHAPES: list[tuple[int, ...]] = [(5, 6), (3, 6), (3,)]


def tensors(dtype: torch.dtype) -> list[Tensor]:
    return [tensor.detach().cpu().requires_grad_() for tensor in random_tensors(SHAPES, dtype, seed=5)]


@pytest.mark.parametrize("biased", [True, False])
def test_gradients_match_finite_differences(biased: bool) -> None:
    x, weight, bias = tensors(torch.float64)
    inputs: tuple[Any, ...] = (x, weight, bias if biased else None)
    assert torch.autograd.gradcheck(fused_linear, inputs)
    assert torch.autograd.gradcheck(lambda *some: fused_linear(*some)[0], inputs)
    assert torch.autograd.gradcheck(lambda *some: fused_linear(*some)[1] * 2, inputs)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_frozen_inputs_have_no_gradient(frozen: int) -> None:
    inputs = tensors(torch.float32)
    inputs[frozen].requires_grad_(False)
    sum(result.sum() for result in fused_linear(*inputs)).backward()  # type: ignore[union-attr]
    assert [tensor.grad is None for tensor in inputs] == [number == frozen for number in range(3)]


def test_results_equal_the_reference() -> None:
    inputs = tensors(torch.bfloat16)
    for fused, plain in zip(fused_linear(*inputs), linear(*inputs), strict=True):
        assert torch.equal(fused, plain)


@pytest.mark.parametrize("device", ["cpu", "meta"])  # the meta device takes a GPU's path
def test_gradients_have_the_dtype_in_which_they_are_accumulated(device: str) -> None:
    x, weight, bias = (tensor.detach().to(device).requires_grad_() for tensor in tensors(torch.bfloat16))
    weight.grad_dtype = bias.grad_dtype = torch.float32
    fused_linear(x, weight, bias)[0].sum().backward()  # type: ignore[no-untyped-call]  # torch has no types
    grads = [tensor.grad for tensor in (x, weight, bias)]
    assert [grad.dtype for grad in grads if grad is not None] == [torch.bfloat16, torch.float32, torch.float32]


def test_residual_gradient_is_added_before_the_rounding() -> None:
    inputs = tensors(torch.bfloat16)
    product, same = fused_linear(*inputs)
    grad_product, grad_same = torch.ones_like(product), torch.full_like(same, 256.0)
    torch.autograd.backward((product, same), (grad_product, grad_same))
    exact = 256.0 + grad_product.double() @ inputs[1].double()
    assert inputs[0].grad is not None
    assert torch.equal(inputs[0].grad, exact.bfloat16())
