"""Cross-entropy that turns logits into their gradient in place, for the chunked masked-LM head.

A program takes a row and goes over it twice: online softmax (Milakov & Gimelshein, 2018), then the gradient. The second
reading comes from the second-level cache, so memory sees the logits once in and once out. The products around it are
torch's.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# Kernels take what Triton passes them: pointers and blocks have no Python types, and Triton ships none.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from pretrain.kernels.masked_lm import CrossEntropy, MaskedLm, chunked

ROW_BLOCK = 4096
ROW_WARPS = 8
SCALE_BLOCK = 4096


@triton.jit
def _logits(scores_ptr, bias_ptr, first, vocabulary, stride, BLOCK: tl.constexpr):
    """A block of a row in fp32. Loads go up to the stride, not the vocabulary: then whole cache lines move at once."""
    columns = first + tl.arange(0, BLOCK)
    within = columns < stride
    logits = tl.load(scores_ptr + columns, mask=within, other=0.0).to(tl.float32)
    logits += tl.load(bias_ptr + columns, mask=within, other=0.0).to(tl.float32)
    return tl.where(columns < vocabulary, logits, float("-inf")), columns, within


@triton.jit
def cross_entropy_kernel(
    scores_ptr, bias_ptr, labels_ptr, loss_ptr, correct_ptr, vocabulary, stride,
    GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row; a negative label gives no loss and no gradient."""
    row = tl.program_id(0).to(tl.int64)
    scores_ptr += row * stride
    label = tl.load(labels_ptr + row)
    # Read before the row is overwritten; the reductions below keep it so.
    own = tl.load(scores_ptr + label, mask=label >= 0, other=0.0).to(tl.float32)
    own += tl.load(bias_ptr + label, mask=label >= 0, other=0.0).to(tl.float32)
    top = float("-inf")
    total = 0.0
    for first in range(0, vocabulary, BLOCK):
        logits, _, _ = _logits(scores_ptr, bias_ptr, first, vocabulary, stride, BLOCK)
        higher = tl.maximum(top, tl.max(logits, axis=0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(logits - higher), axis=0)
        top = higher
    log_total = top + tl.log(total)
    labelled = tl.where(label >= 0, 1.0, 0.0)
    rivals = 0  # that stand before the label and reach the highest logit too
    for first in range(0, vocabulary, BLOCK):
        logits, columns, within = _logits(scores_ptr, bias_ptr, first, vocabulary, stride, BLOCK)
        rivals += tl.sum(((logits == top) & (columns < label)).to(tl.int32), axis=0)
        if GRADIENT:
            gradient = tl.exp(logits - log_total) - tl.where(columns == label, 1.0, 0.0)
            tl.store(scores_ptr + columns, gradient * labelled, mask=within)
    tl.store(loss_ptr + row, (log_total - own) * labelled)
    tl.store(correct_ptr + row, (label >= 0) & (own == top) & (rivals == 0))


@triton.jit
def scale_kernel(gradient_ptr, factor_ptr, result_ptr, elements, BLOCK: tl.constexpr):
    """gradient * factor in fp32, the factor read on the device."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    gradient = tl.load(gradient_ptr + at, mask=at < elements, other=0.0).to(tl.float32)
    tl.store(result_ptr + at, gradient * tl.load(factor_ptr).to(tl.float32), mask=at < elements)


def masked_lm(hidden_MH: Tensor, decoder_VH: Tensor, bias_V: Tensor, labels_M: Tensor) -> MaskedLm:
    """As `pretrain.kernels.masked_lm.masked_lm`, in fp32, bf16 or fp16."""
    return chunked(hidden_MH, decoder_VH, bias_V, labels_M.contiguous(), FUSED)


def cross_entropy(scores_CV: Tensor, bias_V: Tensor, labels_C: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """`CrossEntropy.of_scores`, for rows that may be further apart than they are long."""
    rows, vocabulary = scores_CV.shape
    stride = scores_CV.stride(0)
    bias = bias_V if stride == vocabulary else functional.pad(bias_V, (0, stride - vocabulary))
    loss_C = torch.empty(rows, dtype=torch.float32, device=scores_CV.device)
    correct_C = torch.empty(rows, dtype=torch.bool, device=scores_CV.device)
    block = min(triton.next_power_of_2(vocabulary), ROW_BLOCK)
    cross_entropy_kernel[(rows,)](
        scores_CV, bias, labels_C, loss_C, correct_C, vocabulary, stride,
        GRADIENT=with_gradient, BLOCK=block, num_warps=ROW_WARPS,
    )  # fmt: skip
    return loss_C, correct_C


def scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """`CrossEntropy.scaled`."""
    result = torch.empty_like(gradient)
    scale_kernel[(triton.cdiv(gradient.numel(), SCALE_BLOCK),)](
        gradient, factor, result, gradient.numel(), BLOCK=SCALE_BLOCK
    )
    return result


FUSED = CrossEntropy(cross_entropy, scaled)
