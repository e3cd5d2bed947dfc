"""The end of the masked-LM head: tied decoder, cross-entropy and accuracy, without the logits of all rows at once.

M masked rows, H the hidden width, V the vocabulary size. Rows are processed in chunks of C. A chunk's logits are one
matrix product; cross-entropy replaces them in place by their gradient; two more products compute the gradients of
hidden, decoder and bias. The forward pass therefore already computes the gradients that the backward pass returns,
except for a scalar factor, the incoming gradient. Logits are neither stored nor computed twice. In evaluation no
gradients are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.kernels.logits import LOGITS_BYTES

ALIGNMENT = 64  # columns of logits: 128 bytes in 16 bits
CACHED_BYTES = 1 << 20  # of fp32 logits processed at once on a CPU, so that they stay in its second-level cache


class MaskedLm(NamedTuple):
    """Sums over the rows that have a label. The caller divides by the global count of masked tokens."""

    loss: Tensor  # zero-dimensional, fp32 (fp64 for fp64 input)
    correct: (
        Tensor  # zero-dimensional, int64: rows whose label has the highest logit, the first of equal ones; no gradient
    )


class CrossEntropy(NamedTuple):
    """The parts of the chunked head that differ between backends."""

    # (scores_CV, bias_V, labels_C, with_gradient) -> loss_C, correct_C, where the logits are scores + bias. With
    # `with_gradient`, the logits' gradient replaces the scores in place.
    of_scores: Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
    # (gradient, factor) -> gradient * factor, without rounding the zero-dimensional factor to bf16 first
    scaled: Callable[[Tensor, Tensor], Tensor]


def plain_masked_lm(hidden_MH: Tensor, decoder_VH: Tensor, bias_V: Tensor, labels_M: Tensor) -> MaskedLm:
    """Return the cross-entropy of `hidden_MH @ decoder_VH.T + bias_V` and int64 `labels_M`, ignoring negative labels.

    This form, plain autograd over all logits, is the reference for the chunked head.
    """
    logits_MV = F.linear(hidden_MH, decoder_VH, bias_V)
    wide_MV = logits_MV.to(torch.promote_types(logits_MV.dtype, torch.float32))
    loss = F.cross_entropy(wide_MV, labels_M.clamp(min=-1), ignore_index=-1, reduction="sum")
    return MaskedLm(loss, (logits_MV.argmax(1) == labels_M).sum())


def masked_lm(hidden_MH: Tensor, decoder_VH: Tensor, bias_V: Tensor, labels_M: Tensor) -> MaskedLm:
    """Compute `plain_masked_lm` in chunks.

    Hidden, decoder and bias share a dtype, to which `hidden_MH @ decoder_VH.T` and the logits' gradients are rounded.
    Products are accumulated, the bias is added, and the loss is computed in fp32.
    """
    return chunked(hidden_MH, decoder_VH, bias_V, labels_M, PLAIN)


def gather_rows(hidden_TH: Tensor, rows_M: Tensor) -> Tensor:
    """Return `hidden_TH[rows_M]` for distinct rows, as masked positions are; the gradient is then a plain copy."""
    gathered: Tensor = _GatherRows.apply(hidden_TH, rows_M)  # type: ignore[no-untyped-call]  # torch's own has no types
    return gathered


def chunked(
    hidden_MH: Tensor, decoder_VH: Tensor, bias_V: Tensor, labels_M: Tensor, cross_entropy: CrossEntropy
) -> MaskedLm:
    """Compute `masked_lm` with a given cross-entropy."""
    inputs = (hidden_MH, decoder_VH, bias_V)
    with_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    return MaskedLm(*_ChunkedHead.apply(*inputs, labels_M, cross_entropy, with_gradient))  # type: ignore[no-untyped-call]


def cross_entropy(scores_CV: Tensor, bias_V: Tensor, labels_C: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Implement `CrossEntropy.of_scores` in plain torch and fp32; on a CPU a few rows at a time, to fit its cache."""
    rows, vocabulary = scores_CV.shape
    at_once = max(CACHED_BYTES // (4 * vocabulary), 1) if scores_CV.device.type == "cpu" else max(rows, 1)
    chunks = zip(torch.split(scores_CV, at_once), torch.split(labels_C, at_once), strict=True)
    parts = [_cross_entropy(some_CV, bias_V, some_C, with_gradient) for some_CV, some_C in chunks]
    loss, correct = zip(*parts, strict=True)
    return torch.cat(loss), torch.cat(correct)


def scaled(gradient: Tensor, factor: Tensor) -> Tensor:
    """Implement `CrossEntropy.scaled` in plain torch."""
    if factor.device.type == "cpu":
        return gradient * factor.item()
    return (gradient.to(torch.promote_types(gradient.dtype, factor.dtype)) * factor).to(gradient.dtype)


PLAIN = CrossEntropy(cross_entropy, scaled)


def _cross_entropy(scores_CV: Tensor, bias_V: Tensor, labels_C: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    wide_CV = scores_CV.to(torch.promote_types(scores_CV.dtype, torch.float32), copy=True).add_(bias_V)
    labelled_C, label_C1 = labels_C >= 0, labels_C.clamp(min=0)[:, None]
    own_C, top_C = wide_CV.gather(1, label_C1).squeeze(1), wide_CV.amax(1)
    correct_C = labelled_C & (own_C == top_C)
    # Of equal logits the first is the prediction. On a CPU argmax takes as long as all other work together, so it runs
    # only on the rows that need it.
    some = correct_C.nonzero().squeeze(1) if correct_C.device.type == "cpu" else slice(None)
    correct_C[some] &= wide_CV[some].argmax(1) == labels_C[some]
    weights_CV = wide_CV.softmax(1)
    loss_C = (top_C - weights_CV.amax(1).log() - own_C) * labelled_C
    if with_gradient:
        weights_CV.scatter_add_(1, label_C1, weights_CV.new_full(label_C1.shape, -1.0))
        scores_CV.copy_(weights_CV.mul_(labelled_C[:, None]))
    return loss_C, correct_C


class _ChunkedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_MH: Tensor,
        decoder_VH: Tensor,
        bias_V: Tensor,
        labels_M: Tensor,
        cross_entropy: CrossEntropy,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        rows = max(LOGITS_BYTES // (decoder_VH.shape[0] * decoder_VH.element_size()), 1)
        losses, corrects, grads_hidden, sums = [], [], [], _Sums()
        for hidden_CH, labels_C in zip(torch.split(hidden_MH, rows), torch.split(labels_M, rows), strict=True):
            scores_CV = _product(hidden_CH, decoder_VH)
            loss_C, correct_C = cross_entropy.of_scores(scores_CV, bias_V, labels_C, with_gradient)
            losses.append(loss_C.sum())
            corrects.append(correct_C.sum())
            if with_gradient:
                grads_hidden.append(scores_CV @ decoder_VH)
                sums.add(scores_CV, hidden_CH)
        if with_gradient:
            ctx.save_for_backward(torch.cat(grads_hidden), *sums.as_dtype(decoder_VH.dtype))
            ctx.scaled = cross_entropy.scaled
        correct = torch.stack(corrects).sum()
        ctx.mark_non_differentiable(correct)
        return torch.stack(losses).sum(), correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *(ctx.scaled(gradient, grad_loss) for gradient in ctx.saved_tensors), None, None, None


def _product(hidden_CH: Tensor, decoder_VH: Tensor) -> Tensor:
    """Return `hidden_CH @ decoder_VH.T`; on a GPU rows are padded to start at cache lines (30,522 columns do not)."""
    vocabulary = decoder_VH.shape[0]
    stride = -(-vocabulary // ALIGNMENT) * ALIGNMENT if hidden_CH.is_cuda else vocabulary
    scores_CV = hidden_CH.new_empty(len(hidden_CH), stride)[:, :vocabulary]
    return torch.mm(hidden_CH, decoder_VH.t(), out=scores_CV)


class _Sums:
    """The gradients of the decoder and its bias, summed over chunks, in fp32 when there are several."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def add(self, grad_logits_CV: Tensor, hidden_CH: Tensor) -> None:
        parts = [grad_logits_CV.t() @ hidden_CH, grad_logits_CV.sum(0)]
        if self.parts:
            wide = torch.promote_types(hidden_CH.dtype, torch.float32)
            parts = [total.to(wide).add_(part) for total, part in zip(self.parts, parts, strict=True)]
        self.parts = parts

    def as_dtype(self, dtype: torch.dtype) -> list[Tensor]:
        return [part.to(dtype) for part in self.parts]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_TH: Tensor, rows_M: Tensor) -> Tensor:
        ctx.save_for_backward(rows_M)
        ctx.rows = hidden_TH.shape[0]
        return hidden_TH.index_select(0, rows_M)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_MH: Tensor) -> tuple[Tensor, None]:
        (rows_M,) = ctx.saved_tensors
        grad_TH = grad_MH.new_zeros(ctx.rows, grad_MH.shape[1])
        return grad_TH.index_copy_(0, rows_M, grad_MH), None
