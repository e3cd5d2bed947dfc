"""GeGLU in one pass over memory, forward and backward. The forward pass saves only its input."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.kernels.fused.gelu import FORWARD_ROWS, TILE_COLUMNS, WARPS, normal, tile


@triton.jit
def wide(first_row, columns, width, TILE_ROWS: tl.constexpr):
    """Return the offsets of a tile of the first half of rows that are twice as wide."""
    row = first_row + tl.arange(0, TILE_ROWS)[:, None]
    return row.to(tl.int64) * (2 * width) + columns


@triton.jit(do_not_specialize=["rows"])
def forward_kernel(x_ptr, result_ptr, rows, width, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr):
    """Each program computes one tile of the result, which is half as wide as the input."""
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    at, live = tile(tl.program_id(0) * TILE_ROWS, rows, columns, width, TILE_ROWS)
    at_first = wide(tl.program_id(0) * TILE_ROWS, columns, width, TILE_ROWS)
    gated = tl.load(x_ptr + at_first, mask=live, other=0.0).to(tl.float32)
    gate = tl.load(x_ptr + at_first + width, mask=live, other=0.0).to(tl.float32)
    integral, _ = normal(gated)
    tl.store(result_ptr + at, gated * integral * gate, mask=live)


@triton.jit(do_not_specialize=["rows"])
def backward_kernel(grad_ptr, x_ptr, grad_x_ptr, rows, width, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr):
    """Each program computes the gradients of both halves for one tile of the result."""
    columns = tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    at, live = tile(tl.program_id(0) * TILE_ROWS, rows, columns, width, TILE_ROWS)
    at_first = wide(tl.program_id(0) * TILE_ROWS, columns, width, TILE_ROWS)
    grad = tl.load(grad_ptr + at, mask=live, other=0.0).to(tl.float32)
    gated = tl.load(x_ptr + at_first, mask=live, other=0.0).to(tl.float32)
    gate = tl.load(x_ptr + at_first + width, mask=live, other=0.0).to(tl.float32)
    integral, density = normal(gated)
    tl.store(grad_x_ptr + at_first, grad * gate * (integral + gated * density), mask=live)
    tl.store(grad_x_ptr + at_first + width, grad * gated * integral, mask=live)


def geglu(x_T2F: Tensor) -> Tensor:
    """Compute `pretrain.kernels.geglu.geglu`, in fp32, bf16 or fp16."""
    result_TF: Tensor = _GeGlu.apply(x_T2F)
    return result_TF


def _launch(rows: int, width: int) -> tuple[tuple[int, int], dict[str, int]]:
    columns = min(triton.next_power_of_2(width), TILE_COLUMNS)
    grid = (triton.cdiv(rows, FORWARD_ROWS), triton.cdiv(width, columns))
    return grid, {"TILE_ROWS": FORWARD_ROWS, "TILE_COLUMNS": columns, "num_warps": WARPS}


class _GeGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_T2F: Tensor) -> Tensor:
        x_T2F = x_T2F.contiguous()
        rows, width = len(x_T2F), x_T2F.shape[1] // 2
        result_TF = x_T2F.new_empty(rows, width)
        grid, options = _launch(rows, width)
        forward_kernel[grid](x_T2F, result_TF, rows, width, **options)
        ctx.save_for_backward(x_T2F)
        return result_TF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TF: Tensor) -> Tensor:
        (x_T2F,) = ctx.saved_tensors
        rows, width = grad_TF.shape
        grad_x_T2F = torch.empty_like(x_T2F)
        grid, options = _launch(rows, width)
        backward_kernel[grid](grad_TF.contiguous(), x_T2F, grad_x_T2F, rows, width, **options)
        return grad_x_T2F
