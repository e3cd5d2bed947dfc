"""ModernBERT's dropout + residual + LayerNorm, without biases, in one pass over memory, forward and backward.

Unlike `add_norm`, it returns the sum too: the residual of the next sub-layer. The backward kernel reads the sum, which
autograd holds anyway, and draws the dropout mask again. `add` is the sum alone (ADD without NORM), `layer_norm` the
LayerNorm alone (NORM without ADD). Gradients of the LayerNorm's weight are accumulated per program, in fp32, and added
in a fixed order.
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
from pretrain.kernels.fused.dropout import GROUP, apply_dropout, keep_bits, launch_arguments
from pretrain.kernels.fused.launch import block_of, row_loop_programs, row_loop_registers
from pretrain.kernels.fused.layer_norm import normalise, normalise_backward
from pretrain.kernels.linear import gradient_dtype
from pretrain.kernels.philox import LANES


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def forward_kernel(
    x_ptr, residual_ptr, weight_ptr, seed_ptr, sum_ptr, normed_ptr, statistics_ptr,
    rows, width, epsilon, site, threshold, scale,
    DROPOUT: tl.constexpr, ADD: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program processes one group of rows."""
    group = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    if NORM:
        weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    bits = columns
    if DROPOUT:
        bits = keep_bits(seed_ptr, site, group, columns, threshold)
    for lane in range(GROUP):
        row = group * GROUP + lane
        live = columns < tl.where(row < rows, width, 0)
        at = row.to(tl.int64) * width + columns
        hidden = tl.load(x_ptr + at, mask=live, other=0.0).to(tl.float32)
        if ADD:
            if DROPOUT:
                hidden = apply_dropout(hidden, bits, lane, scale)
            hidden += tl.load(residual_ptr + at, mask=live, other=0.0).to(tl.float32)
            rounded = hidden.to(sum_ptr.dtype.element_ty)
            tl.store(sum_ptr + at, rounded, mask=live)
            hidden = rounded.to(tl.float32)  # what the backward kernel reads
        if NORM:
            normed, mean, inverse = normalise(hidden, inside, width, epsilon)
            tl.store(normed_ptr + at, normed * weight, mask=live)
            tl.store(statistics_ptr + row, mean, mask=row < rows)
            tl.store(statistics_ptr + rows + row, inverse, mask=row < rows)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def backward_kernel(
    grad_sum_ptr, grad_normed_ptr, sum_ptr, weight_ptr, seed_ptr, statistics_ptr,
    grad_x_ptr, grad_residual_ptr, sums_ptr,
    rows, width, site, threshold, scale,
    DROPOUT: tl.constexpr, ADD: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program loops over groups of rows; `sums` [programs, width] are its weight gradients.

    The gradient of the sum is written to `grad_residual`, and with dropout that of x to `grad_x`.
    """
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    weight_sum = tl.zeros([BLOCK], tl.float32)
    if NORM:
        weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    for group in range(tl.program_id(0), tl.cdiv(rows, GROUP), tl.num_programs(0)):
        bits = columns
        if DROPOUT:
            bits = keep_bits(seed_ptr, site, group, columns, threshold)
        for lane in range(GROUP):
            row = group * GROUP + lane
            live = columns < tl.where(row < rows, width, 0)
            at = row.to(tl.int64) * width + columns
            grad = tl.zeros([BLOCK], tl.float32)
            if NORM:
                hidden = tl.load(sum_ptr + at, mask=live, other=0.0).to(tl.float32)
                mean = tl.load(statistics_ptr + row, mask=row < rows, other=0.0)
                inverse = tl.load(statistics_ptr + rows + row, mask=row < rows, other=0.0)
                normed = tl.where(live, (hidden - mean) * inverse, 0.0)
                grad_normed = tl.load(grad_normed_ptr + at, mask=live, other=0.0).to(tl.float32)
                weight_sum += grad_normed * normed
                grad = normalise_backward(grad_normed * weight, normed, inverse, width)
            if ADD:
                grad += tl.load(grad_sum_ptr + at, mask=live, other=0.0).to(tl.float32)
            if NORM:
                tl.store(grad_residual_ptr + at, grad, mask=live)
            if DROPOUT:
                tl.store(grad_x_ptr + at, apply_dropout(grad, bits, lane, scale), mask=live)
    if NORM:
        tl.store(sums_ptr + tl.program_id(0) * width + columns, weight_sum, mask=inside)


def add_then_norm(
    x_TH: Tensor, residual_TH: Tensor, weight_H: Tensor, epsilon: float, dropout: Dropout | None = None
) -> tuple[Tensor, Tensor]:
    """Compute `pretrain.kernels.add_norm.add_then_norm`, in fp32, bf16 or fp16."""
    sum_TH, normed_TH = _ResidualNorm.apply(x_TH, residual_TH, weight_H, epsilon, dropout)
    return sum_TH, normed_TH


def add(x_TH: Tensor, residual_TH: Tensor, dropout: Dropout | None = None) -> Tensor:
    """Compute `pretrain.kernels.add_norm.add` without a bias, in fp32, bf16 or fp16."""
    sum_TH: Tensor = _ResidualNorm.apply(x_TH, residual_TH, None, 0.0, dropout)[0]
    return sum_TH


def layer_norm(hidden_TH: Tensor, weight_H: Tensor, epsilon: float) -> Tensor:
    """Compute `pretrain.kernels.add_norm.layer_norm` without a shift, in fp32, bf16 or fp16, for two dimensions."""
    normed_TH: Tensor = _ResidualNorm.apply(hidden_TH, None, weight_H, epsilon, None)[1]
    return normed_TH


class _ResidualNorm(torch.autograd.Function):
    """With `residual_TH`: the sum (ADD). With `weight_H`: the LayerNorm (NORM). One of them may be None."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TH: Tensor,
        residual_TH: Tensor | None,
        weight_H: Tensor | None,
        epsilon: float,
        dropout: Dropout | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        x_TH = x_TH.contiguous()
        rows, width = x_TH.shape
        parts = {"DROPOUT": dropout is not None, "ADD": residual_TH is not None, "NORM": weight_H is not None}
        sum_TH = torch.empty_like(x_TH) if residual_TH is not None else x_TH
        normed_TH = torch.empty_like(x_TH) if weight_H is not None else x_TH
        statistics_2T = torch.empty(2, rows, dtype=torch.float32, device=x_TH.device)
        seed, *drop = launch_arguments(dropout, x_TH)
        block, warps = block_of(width)
        inputs = (x_TH if tensor is None else tensor.contiguous() for tensor in (residual_TH, weight_H))
        forward_kernel[(triton.cdiv(rows, LANES),)](
            x_TH, *inputs, seed, sum_TH, normed_TH, statistics_2T,
            rows, width, epsilon, *drop, **parts, BLOCK=block, num_warps=warps,
        )  # fmt: skip
        # Without LayerNorm the backward needs no activation.
        kept = (sum_TH, statistics_2T) if weight_H is not None else (None, None)
        ctx.save_for_backward(*kept, weight_H, seed)
        ctx.dropout, ctx.parts = dropout, parts
        return sum_TH if residual_TH is not None else None, normed_TH if weight_H is not None else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sum_TH: Any, grad_normed_TH: Any) -> tuple[Tensor | None, ...]:
        sum_TH, statistics_2T, weight_H, seed = ctx.saved_tensors
        if weight_H is None and ctx.dropout is None:
            return grad_sum_TH, grad_sum_TH, None, None, None
        given = grad_sum_TH if grad_normed_TH is None else grad_normed_TH
        grads = [given if grad is None else grad.contiguous() for grad in (grad_sum_TH, grad_normed_TH)]
        rows, width = given.shape
        _, *drop = launch_arguments(ctx.dropout, given)
        block, warps = block_of(width)
        registers = row_loop_registers(warps)
        programs = row_loop_programs(given.device, triton.cdiv(rows, LANES), warps, registers)
        # Where a gradient equals another one, they share a tensor.
        grad_residual_TH = torch.empty_like(grads[0]) if weight_H is not None else grads[0]
        grad_x_TH = torch.empty_like(grads[0]) if ctx.dropout is not None else grad_residual_TH
        sums_PH = torch.empty(programs, width, dtype=torch.float32, device=given.device)
        inputs = (given if tensor is None else tensor for tensor in (sum_TH, weight_H))
        backward_kernel[(programs,)](
            *grads, *inputs, seed, sums_PH if statistics_2T is None else statistics_2T,
            grad_x_TH, grad_residual_TH, sums_PH,
            rows, width, *drop, **ctx.parts, BLOCK=block, num_warps=warps, maxnreg=registers,
        )  # fmt: skip
        grad_weight_H = None if weight_H is None else sums_PH.sum(0).to(gradient_dtype(weight_H))
        return grad_x_TH, grad_residual_TH if ctx.parts["ADD"] else None, grad_weight_H, None, None
