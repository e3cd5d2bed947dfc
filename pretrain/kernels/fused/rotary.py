"""Rotary positions in one pass over memory; the backward pass is the rotation by the negative angles."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.kernels.attention import Rotation

TILE_HEADS = 16  # of 3 A
WARPS = 4


@triton.jit(do_not_specialize=["rotated", "heads"])
def rotate_kernel(
    qkv_ptr, cos_ptr, sin_ptr, result_ptr, rotated, heads, half, sign, TILE_HEADS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Each program computes some of a token's `heads` = 3 A heads; the first `rotated` = 2 A of them are rotated."""
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)[None, :]
    head = tl.program_id(1) * TILE_HEADS + tl.arange(0, TILE_HEADS)[:, None]
    live = (head < heads) & (columns < half)
    at = (token * heads + head) * (2 * half) + columns
    first = tl.load(qkv_ptr + at, mask=live, other=0.0).to(tl.float32)
    second = tl.load(qkv_ptr + at + half, mask=live, other=0.0).to(tl.float32)
    cos = tl.load(cos_ptr + token * half + columns, mask=columns < half, other=0.0)
    sin = tl.load(sin_ptr + token * half + columns, mask=columns < half, other=0.0) * sign
    turns = head < rotated
    tl.store(result_ptr + at, tl.where(turns, first * cos - second * sin, first), mask=live)
    tl.store(result_ptr + at + half, tl.where(turns, second * cos + first * sin, second), mask=live)


def rotate(qkv_T3AD: Tensor, rotation: Rotation) -> Tensor:
    """Compute `pretrain.kernels.rotary.rotate`, in fp32, bf16 or fp16."""
    rotated: Tensor = _Rotate.apply(qkv_T3AD, *rotation)
    return rotated


def _launch(qkv_T3AD: Tensor, cos_TD2: Tensor, sin_TD2: Tensor, sign: float) -> Tensor:
    qkv_T3AD = qkv_T3AD.contiguous()
    tokens, _, heads, width = qkv_T3AD.shape
    result_T3AD = torch.empty_like(qkv_T3AD)
    rotate_kernel[(tokens, triton.cdiv(3 * heads, TILE_HEADS))](
        qkv_T3AD, cos_TD2, sin_TD2, result_T3AD, 2 * heads, 3 * heads, width // 2, sign,
        TILE_HEADS=TILE_HEADS, BLOCK=triton.next_power_of_2(width // 2), num_warps=WARPS,
    )  # fmt: skip
    return result_T3AD


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv_T3AD: Tensor, cos_TD2: Tensor, sin_TD2: Tensor) -> Tensor:
        ctx.save_for_backward(cos_TD2, sin_TD2)
        return _launch(qkv_T3AD, cos_TD2, sin_TD2, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T3AD: Tensor) -> tuple[Tensor, None, None]:
        cos_TD2, sin_TD2 = ctx.saved_tensors
        return _launch(grad_T3AD, cos_TD2, sin_TD2, -1.0), None, None
