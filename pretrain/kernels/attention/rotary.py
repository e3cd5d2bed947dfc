"""Rotary positions (Su et al. 2021): queries and keys are rotated by angles that grow with a token's position.

T tokens of all rows · A heads · D width of a head · D2 its half

Element `d` of the first half of a head and element `d` of its second half are one plane, as in GPT-NeoX.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Rotation(NamedTuple):
    """The cosine and sine of each token's angles: fp32 [T, D2]."""

    cos: Tensor
    sin: Tensor


def rotation_of(positions_T: Tensor, base: float, width: int) -> Rotation:
    """Return the rotation of tokens at these positions in their rows; plane d turns by `base ** (-2 d / width)`.

    Angles are fp32 in every precision of the model, as in transformers: at position 8,192 another precision of the
    product would change the angle by up to 5e-4.
    """
    exponents_D2 = torch.arange(0, width, 2, dtype=torch.float32, device=positions_T.device) / width
    angles_TD2 = positions_T[:, None].float() * (1.0 / base**exponents_D2)
    return Rotation(angles_TD2.cos(), angles_TD2.sin())


def rotate(qkv_T3AD: Tensor, rotation: Rotation) -> Tensor:
    """Return the queries and keys rotated, and the values as they are: [T, 3, A, D], in the dtype of `qkv_T3AD`.

    Computes in fp32 or wider. This form is the reference for the fused operation, and the path on CPUs.
    """
    rotated: Tensor = _Rotate.apply(qkv_T3AD, *rotation)  # type: ignore[no-untyped-call]  # torch has no types
    return rotated


def rotated(qkv_T3AD: Tensor, cos_TD2: Tensor, sin_TD2: Tensor) -> Tensor:
    """Compute `rotate` in plain torch, into one new tensor. The gradient's rotation is that by the negative angles."""
    wide = torch.promote_types(qkv_T3AD.dtype, torch.float32)
    cos_T11D2, sin_T11D2 = cos_TD2.to(wide)[:, None, None], sin_TD2.to(wide)[:, None, None]
    first_T2AD2, second_T2AD2 = qkv_T3AD[:, :2].to(wide).chunk(2, dim=-1)
    result_T3AD = torch.empty_like(qkv_T3AD)
    result_first, result_second = result_T3AD[:, :2].chunk(2, dim=-1)
    result_first.copy_(torch.addcmul(first_T2AD2 * cos_T11D2, second_T2AD2, sin_T11D2, value=-1))
    result_second.copy_(torch.addcmul(second_T2AD2 * cos_T11D2, first_T2AD2, sin_T11D2))
    result_T3AD[:, 2] = qkv_T3AD[:, 2]
    return result_T3AD


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_T3AD: Tensor, cos_TD2: Tensor, sin_TD2: Tensor) -> Tensor:
        ctx.save_for_backward(cos_TD2, sin_TD2)
        return rotated(qkv_T3AD, cos_TD2, sin_TD2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T3AD: Tensor) -> tuple[Tensor, None, None]:
        cos_TD2, sin_TD2 = ctx.saved_tensors
        return rotated(grad_T3AD, cos_TD2, -sin_TD2), None, None
