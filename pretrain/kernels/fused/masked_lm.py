"""Cross-entropy that replaces logits by their gradient in place, for the chunked masked-LM head.

A program reads its row twice: for the online softmax (Milakov & Gimelshein, 2018), then for the gradient. The second
read comes from the second-level cache, so memory transfers the logits once in each direction. torch computes the
matrix products.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from pretrain.kernels.masked_lm import CrossEntropy, MaskedLm, chunked

ROW_BLOCK = 8192
ROW_WARPS = 8
SCALE_BLOCK = 4096
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _logits(scores_ptr, bias_ptr, first, stride, BLOCK: tl.constexpr):
    """Return a block of a row in fp32, -inf beyond the row's stride, and its columns.

    Logits are multiplied by log2(e), so that one instruction computes their exponential.
    """
    columns = first + tl.arange(0, BLOCK)
    scores = tl.load(scores_ptr + columns, mask=columns < stride, other=float("-inf")).to(tl.float32)
    bias = tl.load(bias_ptr + columns, mask=columns < stride, other=0.0).to(tl.float32)
    return (scores + bias) * LOG2_E, columns


@triton.jit
def cross_entropy_kernel(
    scores_ptr, bias_ptr, labels_ptr, loss_ptr, correct_ptr, stride, GRADIENT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Each program processes one row of `stride` columns; a negative label gives no loss and no gradient."""
    row = tl.program_id(0).to(tl.int64)
    scores_ptr += row * stride
    label = tl.load(labels_ptr + row).to(tl.int32)
    labelled = label >= 0
    own = tl.load(scores_ptr + label, mask=labelled, other=0.0).to(tl.float32)
    own = (own + tl.load(bias_ptr + label, mask=labelled, other=0.0).to(tl.float32)) * LOG2_E
    top = float("-inf")
    total = 0.0
    for first in range(0, stride, BLOCK):
        logits, _ = _logits(scores_ptr, bias_ptr, first, stride, BLOCK)
        higher = tl.maximum(top, tl.max(logits, axis=0))
        total = total * tl.exp2(top - higher) + tl.sum(tl.exp2(logits - higher), axis=0)
        top = higher
    log_total = top + tl.log2(total)
    earlier_ties = 0  # columns before the label with an equal logit
    if own == top:
        for first in range(0, label, BLOCK):
            logits, columns = _logits(scores_ptr, bias_ptr, first, stride, BLOCK)
            earlier_ties += tl.sum(((logits == top) & (columns < label)).to(tl.int32), axis=0)
    tl.store(loss_ptr + row, tl.where(labelled, (log_total - own) / LOG2_E, 0.0))
    tl.store(correct_ptr + row, labelled & (own == top) & (earlier_ties == 0))
    if GRADIENT:
        log_total = tl.where(labelled, log_total, float("inf"))
        for first in range(0, stride, BLOCK):
            logits, columns = _logits(scores_ptr, bias_ptr, first, stride, BLOCK)
            tl.store(scores_ptr + columns, tl.exp2(logits - log_total), mask=columns < stride)
        tl.debug_barrier()  # another thread writes the label's column first; its correct gradient must be written after
        tl.store(scores_ptr + label, tl.exp2(own - log_total) - 1.0, mask=labelled)


@triton.jit
def scale_kernel(gradient_ptr, factor_ptr, result_ptr, elements, BLOCK: tl.constexpr):
    """Store gradient * factor, computed in fp32; the factor is read on the device."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gradient = tl.load(gradient_ptr + at, mask=at < elements, other=0.0).to(tl.float32)
    tl.store(result_ptr + at, gradient * tl.load(factor_ptr).to(tl.float32), mask=at < elements)


def masked_lm(hidden_MH: Tensor, decoder_VH: Tensor, bias_V: Tensor, labels_M: Tensor) -> MaskedLm:
    """Compute `pretrain.kernels.masked_lm.masked_lm`, in fp32, bf16 or fp16."""
    return chunked(hidden_MH, decoder_VH, bias_V, labels_M.contiguous(), FUSED)


def cross_entropy(scores_CV: Tensor, bias_V: Tensor, labels_C: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Implement `CrossEntropy.of_scores`. The row stride can exceed the row length; the gaps are overwritten."""
    rows, vocabulary = scores_CV.shape
    stride = scores_CV.stride(0)
    if gap := stride - vocabulary:  # the kernel processes complete cache lines: fill the gap with logits of no weight
        scores_CV.as_strided((rows, gap), (stride, 1), scores_CV.storage_offset() + vocabulary).fill_(float("-inf"))
        bias_V = functional.pad(bias_V, (0, gap))
    loss_C = torch.empty(rows, dtype=torch.float32, device=scores_CV.device)
    correct_C = torch.empty(rows, dtype=torch.bool, device=scores_CV.device)
    block = min(triton.next_power_of_2(stride), ROW_BLOCK)
    cross_entropy_kernel[(rows,)](
        scores_CV, bias_V, labels_C, loss_C, correct_C, stride, GRADIENT=with_gradient, BLOCK=block, num_warps=ROW_WARPS
    )
    return loss_C, correct_C


def scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """Implement `CrossEntropy.scaled`."""
    result = torch.empty_like(gradient)
    scale_kernel[(triton.cdiv(gradient.numel(), SCALE_BLOCK),)](
        gradient, factor, result, gradient.numel(), BLOCK=SCALE_BLOCK
    )
    return result


FUSED = CrossEntropy(cross_entropy, scaled)
