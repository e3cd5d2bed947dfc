"""Bias + dropout + residual + LayerNorm in one pass over memory, forward and backward; or only one of the two halves.

The forward kernel reads x and residual and writes the result and two fp32 numbers per row. The backward kernel reads
the gradient and the same two inputs, and draws the dropout mask again: it stores nothing of width H that autograd
would not hold anyway. Column sums (bias, weight and shift gradients) are accumulated per program, in fp32, and added
in a fixed order, without atomics.

In the pre-LayerNorm form, `add` ends a sub-layer (ADD without NORM), and `layer_norm` begins one (NORM without ADD).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.kernels.dropout import Dropout
from pretrain.kernels.fused import residual_norm
from pretrain.kernels.fused.dropout import GROUP, apply_dropout, keep_bits, launch_arguments
from pretrain.kernels.fused.launch import block_of, row_loop_programs, row_loop_registers
from pretrain.kernels.fused.layer_norm import normalise, normalise_backward
from pretrain.kernels.linear import gradient_dtype
from pretrain.kernels.philox import LANES


@triton.jit
def _load_hidden(x_ptr, residual_ptr, bias, at, live, bits, lane, scale, DROPOUT: tl.constexpr, ADD: tl.constexpr):
    """Return residual + dropout(x + bias) of one row, or x, in fp32."""
    branch = tl.load(x_ptr + at, mask=live, other=0.0).to(tl.float32)
    if ADD:
        branch += bias
        if DROPOUT:
            branch = apply_dropout(branch, bits, lane, scale)
        branch += tl.load(residual_ptr + at, mask=live, other=0.0).to(tl.float32)
    return branch


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def forward_kernel(
    x_ptr, bias_ptr, residual_ptr, weight_ptr, shift_ptr, seed_ptr,
    result_ptr, statistics_ptr,
    rows, width, epsilon, site, threshold, scale,
    DROPOUT: tl.constexpr, ADD: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program processes one group of rows."""
    group = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    bias = tl.zeros([BLOCK], tl.float32)
    if ADD:
        bias = tl.load(bias_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
        shift = tl.load(shift_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    bits = columns
    if DROPOUT:
        bits = keep_bits(seed_ptr, site, group, columns, threshold)
    for lane in range(GROUP):
        row = group * GROUP + lane
        live = columns < tl.where(row < rows, width, 0)
        at = row.to(tl.int64) * width + columns
        hidden = _load_hidden(x_ptr, residual_ptr, bias, at, live, bits, lane, scale, DROPOUT, ADD)
        if NORM:
            normed, mean, inverse = normalise(hidden, inside, width, epsilon)
            hidden = normed * weight + shift
            tl.store(statistics_ptr + row, mean, mask=row < rows)
            tl.store(statistics_ptr + rows + row, inverse, mask=row < rows)
        tl.store(result_ptr + at, hidden, mask=live)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def backward_kernel(
    grad_ptr, x_ptr, bias_ptr, residual_ptr, weight_ptr, seed_ptr, statistics_ptr,
    grad_x_ptr, grad_residual_ptr, sums_ptr,
    rows, width, site, threshold, scale,
    DROPOUT: tl.constexpr, ADD: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program loops over groups of rows; `sums` [programs, 3, width] are its bias, weight and shift gradients.

    The gradient of the normalised sum is written to `grad_residual`, and with dropout that of x to `grad_x`.
    """
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    bias_sum = tl.zeros([BLOCK], tl.float32)
    weight_sum = tl.zeros([BLOCK], tl.float32)
    shift_sum = tl.zeros([BLOCK], tl.float32)
    for group in range(tl.program_id(0), tl.cdiv(rows, GROUP), tl.num_programs(0)):
        bits = columns
        if DROPOUT:
            bits = keep_bits(seed_ptr, site, group, columns, threshold)
        for lane in range(GROUP):
            row = group * GROUP + lane
            live = columns < tl.where(row < rows, width, 0)
            at = row.to(tl.int64) * width + columns
            grad = tl.load(grad_ptr + at, mask=live, other=0.0).to(tl.float32)
            if NORM:
                bias = tl.zeros([BLOCK], tl.float32)
                if ADD:
                    bias = tl.load(bias_ptr + columns, mask=inside, other=0.0).to(tl.float32)
                weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
                hidden = _load_hidden(x_ptr, residual_ptr, bias, at, live, bits, lane, scale, DROPOUT, ADD)
                mean = tl.load(statistics_ptr + row, mask=row < rows, other=0.0)
                inverse = tl.load(statistics_ptr + rows + row, mask=row < rows, other=0.0)
                normed = (hidden - mean) * inverse
                weight_sum += grad * normed
                shift_sum += grad
                grad = normalise_backward(grad * weight, normed, inverse, width)
                tl.store(grad_residual_ptr + at, grad, mask=live)
            if ADD:
                if DROPOUT:
                    grad = apply_dropout(grad, bits, lane, scale)
                    tl.store(grad_x_ptr + at, grad, mask=live)
                bias_sum += grad
    sums = sums_ptr + tl.program_id(0) * 3 * width + columns
    tl.store(sums, bias_sum, mask=inside)
    tl.store(sums + width, weight_sum, mask=inside)
    tl.store(sums + 2 * width, shift_sum, mask=inside)


def add_norm(
    x_TH: Tensor,
    bias_H: Tensor,
    residual_TH: Tensor,
    weight_H: Tensor,
    shift_H: Tensor,
    epsilon: float,
    dropout: Dropout | None = None,
) -> Tensor:
    """Compute `pretrain.kernels.add_norm.add_norm`, in fp32, bf16 or fp16."""
    result: Tensor = _AddNorm.apply(x_TH, bias_H, residual_TH, weight_H, shift_H, epsilon, dropout)
    return result


def add(x_TH: Tensor, bias_H: Tensor | None, residual_TH: Tensor, dropout: Dropout | None = None) -> Tensor:
    """Compute `pretrain.kernels.add_norm.add`, in fp32, bf16 or fp16."""
    if bias_H is None:
        return residual_norm.add(x_TH, residual_TH, dropout)
    result: Tensor = _AddNorm.apply(x_TH, bias_H, residual_TH, None, None, 0.0, dropout)
    return result


def layer_norm(hidden_TH: Tensor, weight_H: Tensor, shift_H: Tensor | None, epsilon: float) -> Tensor:
    """Compute `pretrain.kernels.add_norm.layer_norm`, in fp32, bf16 or fp16, for two dimensions."""
    if shift_H is None:
        return residual_norm.layer_norm(hidden_TH, weight_H, epsilon)
    result: Tensor = _AddNorm.apply(hidden_TH, None, None, weight_H, shift_H, epsilon, None)
    return result


class _AddNorm(torch.autograd.Function):
    """With `residual_TH`: the sum (ADD). With `weight_H`: the LayerNorm (NORM). One of them may be None."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TH: Tensor,
        bias_H: Tensor | None,
        residual_TH: Tensor | None,
        weight_H: Tensor | None,
        shift_H: Tensor | None,
        epsilon: float,
        dropout: Dropout | None,
    ) -> Tensor:
        x_TH = x_TH.contiguous()
        residual_TH = None if residual_TH is None else residual_TH.contiguous()
        rows, width = x_TH.shape
        result_TH = torch.empty_like(x_TH)
        statistics_2T = torch.empty(2, rows, dtype=torch.float32, device=x_TH.device)
        seed, *drop = launch_arguments(dropout, x_TH)
        block, warps = block_of(width)
        parts = {"DROPOUT": dropout is not None, "ADD": residual_TH is not None, "NORM": weight_H is not None}
        inputs = (x_TH if tensor is None else tensor for tensor in (bias_H, residual_TH, weight_H, shift_H))
        forward_kernel[(triton.cdiv(rows, LANES),)](
            x_TH, *inputs, seed, result_TH, statistics_2T,
            rows, width, epsilon, *drop, **parts, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        # Without LayerNorm the backward needs no activation.
        kept = (x_TH, residual_TH, statistics_2T) if weight_H is not None else (None, None, None)
        ctx.save_for_backward(*kept, bias_H, weight_H, seed)
        ctx.dropout, ctx.parts = dropout, parts
        return result_TH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor | None, ...]:
        x_TH, residual_TH, statistics_2T, bias_H, weight_H, seed = ctx.saved_tensors
        grad_TH = grad_TH.contiguous()
        rows, width = grad_TH.shape
        _, *drop = launch_arguments(ctx.dropout, grad_TH)
        block, warps = block_of(width)
        registers = row_loop_registers(warps)
        programs = row_loop_programs(grad_TH.device, triton.cdiv(rows, LANES), warps, registers)
        # Where a gradient equals another one, they share a tensor: that of the sum without LayerNorm is the incoming
        # one, and that of x without dropout is that of the sum.
        grad_sum_TH = torch.empty_like(grad_TH) if weight_H is not None else grad_TH
        grad_x_TH = torch.empty_like(grad_TH) if ctx.dropout is not None else grad_sum_TH
        sums_P3H = torch.empty(programs, 3, width, dtype=torch.float32, device=grad_TH.device)
        inputs = (grad_TH if tensor is None else tensor for tensor in (x_TH, bias_H, residual_TH, weight_H))
        backward_kernel[(programs,)](
            grad_TH, *inputs, seed, sums_P3H if statistics_2T is None else statistics_2T,
            grad_x_TH, grad_sum_TH, sums_P3H,
            rows, width, *drop, **ctx.parts, BLOCK=block, num_warps=warps, maxnreg=registers,
        )  # fmt: skip
        sums_3H = sums_P3H.sum(0).to(gradient_dtype(bias_H if weight_H is None else weight_H))
        grad_bias_H = None if bias_H is None else sums_3H[0]
        grad_weight_H, grad_shift_H = (None, None) if weight_H is None else (sums_3H[1], sums_3H[2])
        grad_residual_TH = None if bias_H is None else grad_sum_TH
        return grad_x_TH, grad_bias_H, grad_residual_TH, grad_weight_H, grad_shift_H, None, None
