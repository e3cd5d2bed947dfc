"""Linear layers, whose input is often also the input of a residual sum.

T tokens, I inputs, O outputs. There is no custom kernel: the products are torch's. On a GPU their backward differs from
torch's own in two ways, which save an operation per weight and per residual sum and lose no precision:

- The gradient of a weight or bias is written in its gradient's dtype (`grad_dtype`): in fp32 if gradients are
  accumulated in fp32. torch would round the product to 16 bits and widen it in another operation.
- The gradient of a residual is added by the product that computes the input's gradient, before it is rounded.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return `x_TI @ weight_OI.T + bias_O`: [T, O], and `x_TI`, for a residual sum.

    This form is the reference for the fused operation, and the path on CPUs.
    """
    return F.linear(x_TI, weight_OI, bias_O), x_TI


def fused_linear(x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> tuple[Tensor, Tensor]:
    """Compute `linear`. The second result must be used wherever `x_TI` would be."""
    product_TO, same_TI = _Linear.apply(x_TI, weight_OI, bias_O)  # type: ignore[no-untyped-call]  # torch has no types
    return product_TO, same_TI


def gradient_dtype(parameter: Tensor) -> torch.dtype:
    """Return the dtype in which autograd accumulates the gradient of a parameter."""
    return (parameter.grad_dtype if parameter.is_leaf else None) or parameter.dtype


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x_TI, weight_OI, bias_O)
        ctx.set_materialize_grads(False)
        return F.linear(x_TI, weight_OI, bias_O), x_TI

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TO: Any, grad_same_TI: Any) -> tuple[Tensor | None, ...]:
        x_TI, weight_OI, bias_O = ctx.saved_tensors
        if grad_TO is None:
            return grad_same_TI, None, None
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_x_TI = grad_weight_OI = grad_bias_O = None
        if needs_x and grad_same_TI is None:
            grad_x_TI = grad_TO @ weight_OI
        elif needs_x:
            grad_x_TI = torch.addmm(grad_same_TI, grad_TO, weight_OI)
        if needs_weight:
            grad_weight_OI = _product(grad_TO.t(), x_TI, gradient_dtype(weight_OI))
        if needs_bias:
            grad_bias_O = grad_TO.sum(0, dtype=gradient_dtype(bias_O))
        return grad_x_TI, grad_weight_OI, grad_bias_O


def _product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `left @ right`, in `dtype` where the device has such a product; autograd converts the others."""
    if dtype == left.dtype or left.device.type == "cpu":
        return left @ right
    return torch.mm(left, right, out_dtype=dtype)
