"""The three embeddings, their sum, LayerNorm and dropout in one pass over memory.

The forward kernel writes the result and two fp32 numbers per row. The backward kernel reads the tables again, computes
the gradient through dropout and LayerNorm, and writes one gradient [T, H], from which torch computes those of the word
and position tables. The gradients of the two token types and of LayerNorm are column sums: computed in the same pass,
in fp32, in a fixed order. The pre-LayerNorm form has no LayerNorm here (`NORM`).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.kernels.dropout import Dropout
from pretrain.kernels.embedding import table_gradient
from pretrain.kernels.fused.dropout import GROUP, apply_dropout, keep_bits, launch_arguments
from pretrain.kernels.fused.launch import block_of, row_loop_programs, row_loop_registers
from pretrain.kernels.fused.layer_norm import normalise, normalise_backward
from pretrain.kernels.linear import gradient_dtype
from pretrain.kernels.philox import LANES


@triton.jit
def _load_row(table_ptr, ids_ptr, row, rows, width, columns, live):
    """Return row `ids[row]` of a table in fp32."""
    index = tl.load(ids_ptr + row, mask=row < rows, other=0).to(tl.int64)
    return tl.load(table_ptr + index * width + columns, mask=live, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def forward_kernel(
    word_ids_ptr, position_ids_ptr, token_type_ids_ptr, word_ptr, position_ptr, token_type_ptr,
    weight_ptr, shift_ptr, seed_ptr, result_ptr, statistics_ptr,
    rows, width, epsilon, site, threshold, scale,
    DROPOUT: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program processes one group of rows."""
    group = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    if NORM:
        weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
        shift = tl.load(shift_ptr + columns, mask=inside, other=0.0).to(tl.float32)
    bits = columns
    if DROPOUT:
        bits = keep_bits(seed_ptr, site, group, columns, threshold)
    for lane in range(GROUP):
        row = group * GROUP + lane
        live = columns < tl.where(row < rows, width, 0)
        hidden = _load_row(word_ptr, word_ids_ptr, row, rows, width, columns, live)
        hidden += _load_row(position_ptr, position_ids_ptr, row, rows, width, columns, live)
        hidden += _load_row(token_type_ptr, token_type_ids_ptr, row, rows, width, columns, live)
        if NORM:
            normed, mean, inverse = normalise(hidden, inside, width, epsilon)
            hidden = normed * weight + shift
            tl.store(statistics_ptr + row, mean, mask=row < rows)
            tl.store(statistics_ptr + rows + row, inverse, mask=row < rows)
        if DROPOUT:
            hidden = apply_dropout(hidden, bits, lane, scale)
        tl.store(result_ptr + row.to(tl.int64) * width + columns, hidden, mask=live)


@triton.jit(do_not_specialize=["rows", "site", "threshold"])
def backward_kernel(
    grad_ptr, word_ids_ptr, position_ids_ptr, token_type_ids_ptr, word_ptr, position_ptr, token_type_ptr,
    weight_ptr, seed_ptr, statistics_ptr, grad_hidden_ptr, sums_ptr,
    rows, width, site, threshold, scale,
    DROPOUT: tl.constexpr, NORM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program loops over groups of rows.

    `sums` [programs, 4, width] are its gradients of weight, shift, and token types 0 and 1.
    """
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    weight_sum = tl.zeros([BLOCK], tl.float32)
    shift_sum = tl.zeros([BLOCK], tl.float32)
    type_0_sum = tl.zeros([BLOCK], tl.float32)
    type_1_sum = tl.zeros([BLOCK], tl.float32)
    for group in range(tl.program_id(0), tl.cdiv(rows, GROUP), tl.num_programs(0)):
        bits = columns
        if DROPOUT:
            bits = keep_bits(seed_ptr, site, group, columns, threshold)
        for lane in range(GROUP):
            row = group * GROUP + lane
            live = columns < tl.where(row < rows, width, 0)
            at = row.to(tl.int64) * width + columns
            grad = tl.load(grad_ptr + at, mask=live, other=0.0).to(tl.float32)
            if DROPOUT:
                grad = apply_dropout(grad, bits, lane, scale)
            if NORM:
                hidden = _load_row(word_ptr, word_ids_ptr, row, rows, width, columns, live)
                hidden += _load_row(position_ptr, position_ids_ptr, row, rows, width, columns, live)
                hidden += _load_row(token_type_ptr, token_type_ids_ptr, row, rows, width, columns, live)
                mean = tl.load(statistics_ptr + row, mask=row < rows, other=0.0)
                inverse = tl.load(statistics_ptr + rows + row, mask=row < rows, other=0.0)
                normed = (hidden - mean) * inverse
                weight_sum += grad * normed
                shift_sum += grad
                # Read again for each row: it comes from the first-level cache, and registers bound this kernel.
                weight = tl.load(weight_ptr + columns, mask=inside, other=0.0).to(tl.float32)
                grad = normalise_backward(grad * weight, normed, inverse, width)
            tl.store(grad_hidden_ptr + at, grad, mask=live)
            token_type = tl.load(token_type_ids_ptr + row, mask=row < rows, other=0)
            type_0_sum += tl.where(token_type == 0, grad, 0.0)
            type_1_sum += tl.where(token_type == 1, grad, 0.0)
    sums = sums_ptr + tl.program_id(0) * 4 * width + columns
    tl.store(sums, weight_sum, mask=inside)
    tl.store(sums + width, shift_sum, mask=inside)
    tl.store(sums + 2 * width, type_0_sum, mask=inside)
    tl.store(sums + 3 * width, type_1_sum, mask=inside)


def embed(
    word_ids_T: Tensor,
    position_ids_T: Tensor,
    token_type_ids_T: Tensor,
    word_VH: Tensor,
    position_PH: Tensor,
    token_type_SH: Tensor,
    weight_H: Tensor,
    shift_H: Tensor,
    epsilon: float,
    dropout: Dropout | None = None,
) -> Tensor:
    """Compute `pretrain.kernels.embedding.embed`, in fp32, bf16 or fp16, with contiguous tables.

    Token types are 0 and 1: the gradient of further rows of their table is zero.
    """
    ids = (word_ids_T.contiguous(), position_ids_T.contiguous(), token_type_ids_T.contiguous())
    tables = (word_VH, position_PH, token_type_SH)
    result: Tensor = _Embed.apply(*ids, *tables, weight_H, shift_H, epsilon, dropout)
    return result


def embed_sum(
    word_ids_T: Tensor,
    position_ids_T: Tensor,
    token_type_ids_T: Tensor,
    word_VH: Tensor,
    position_PH: Tensor,
    token_type_SH: Tensor,
    dropout: Dropout | None = None,
) -> Tensor:
    """Compute `pretrain.kernels.embedding.embed_sum`, in fp32, bf16 or fp16, under the conditions of `embed`."""
    ids = (word_ids_T.contiguous(), position_ids_T.contiguous(), token_type_ids_T.contiguous())
    tables = (word_VH, position_PH, token_type_SH)
    result: Tensor = _Embed.apply(*ids, *tables, None, None, 0.0, dropout)
    return result


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        word_ids_T: Tensor,
        position_ids_T: Tensor,
        token_type_ids_T: Tensor,
        word_VH: Tensor,
        position_PH: Tensor,
        token_type_SH: Tensor,
        weight_H: Tensor | None,
        shift_H: Tensor | None,
        epsilon: float,
        dropout: Dropout | None,
    ) -> Tensor:
        inputs = (word_ids_T, position_ids_T, token_type_ids_T, word_VH, position_PH, token_type_SH)
        norm = (word_VH, word_VH) if weight_H is None else (weight_H, shift_H)
        rows, width = len(word_ids_T), word_VH.shape[1]
        result_TH = torch.empty(rows, width, dtype=word_VH.dtype, device=word_VH.device)
        statistics_2T = torch.empty(2, rows, dtype=torch.float32, device=word_VH.device)
        seed, *drop = launch_arguments(dropout, word_VH)
        block, warps = block_of(width)
        forward_kernel[(triton.cdiv(rows, LANES),)](
            *inputs, *norm, seed, result_TH, statistics_2T,
            rows, width, epsilon, *drop, DROPOUT=dropout is not None, NORM=weight_H is not None,
            BLOCK=block, num_warps=warps,
        )  # fmt: skip
        ctx.save_for_backward(*inputs, weight_H, seed, statistics_2T)
        ctx.dropout = dropout
        return result_TH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, weight_H, seed, statistics_2T = ctx.saved_tensors
        word_ids_T, position_ids_T, _, word_VH, position_PH, token_type_SH = inputs
        rows, width = grad_TH.shape
        _, *drop = launch_arguments(ctx.dropout, word_VH)
        block, warps = block_of(width)
        registers = row_loop_registers(warps)
        programs = row_loop_programs(grad_TH.device, triton.cdiv(rows, LANES), warps, registers)
        grad_hidden_TH = torch.empty(rows, width, dtype=grad_TH.dtype, device=grad_TH.device)
        sums_P4H = torch.empty(programs, 4, width, dtype=torch.float32, device=grad_TH.device)
        backward_kernel[(programs,)](
            grad_TH.contiguous(), *inputs, word_VH if weight_H is None else weight_H, seed, statistics_2T,
            grad_hidden_TH, sums_P4H,
            rows, width, *drop,
            DROPOUT=ctx.dropout is not None, NORM=weight_H is not None, BLOCK=block, num_warps=warps, maxnreg=registers,
        )  # fmt: skip
        sums_4H = sums_P4H.sum(0)
        norm = (None, None) if weight_H is None else sums_4H[:2].to(gradient_dtype(weight_H)).unbind()
        tables = (
            table_gradient(grad_hidden_TH, word_ids_T, word_VH),
            table_gradient(grad_hidden_TH, position_ids_T, position_PH),
            F.pad(sums_4H[2:], (0, 0, 0, len(token_type_SH) - 2)).to(gradient_dtype(token_type_SH)),
        )
        return None, None, None, *tables, *norm, None, None
