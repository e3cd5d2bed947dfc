"""LayerNorm, and the end of a sub-layer: residual + dropout(x + bias), normalised in the post-LayerNorm form.

T tokens, H the hidden width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.dropout import Dropout, add_dropped


def add_norm(
    x_TH: Tensor,
    bias_H: Tensor,
    residual_TH: Tensor,
    weight_H: Tensor,
    shift_H: Tensor,
    epsilon: float,
    dropout: Dropout | None = None,
) -> Tensor:
    """Return LayerNorm (`weight_H`, `shift_H`, `epsilon`) of `residual_TH + dropout(x_TH + bias_H)`: [T, H].

    `x_TH` is a linear layer's product without its bias. This plain-torch form is the reference for the fused operation
    and the path where Triton is not available.
    """
    return layer_norm(add(x_TH, bias_H, residual_TH, dropout), weight_H, shift_H, epsilon)


def add(x_TH: Tensor, bias_H: Tensor | None, residual_TH: Tensor, dropout: Dropout | None = None) -> Tensor:
    """Return `residual_TH + dropout(x_TH + bias_H)`, the end of a pre-LayerNorm sub-layer."""
    return add_dropped(residual_TH, x_TH if bias_H is None else x_TH + bias_H, dropout)


def add_then_norm(
    x_TH: Tensor, residual_TH: Tensor, weight_H: Tensor, epsilon: float, dropout: Dropout | None = None
) -> tuple[Tensor, Tensor]:
    """Return the sum `residual_TH + dropout(x_TH)`, and its LayerNorm without shift: [T, H] each.

    The end of a pre-LayerNorm sub-layer without biases, and the beginning of the next one.
    """
    sum_TH = add(x_TH, None, residual_TH, dropout)
    return sum_TH, layer_norm(sum_TH, weight_H, None, epsilon)


def layer_norm(hidden_TH: Tensor, weight_H: Tensor, shift_H: Tensor | None, epsilon: float) -> Tensor:
    """Return the normalised rows (Ba et al. 2016), with the shape and dtype of `hidden_TH`; without shift if None.

    On a CPU torch sums bf16 gradients of weight and shift in bf16, where a sum of ones stops growing at 256. 16-bit
    input is therefore computed in fp32 there, which is no slower. torch's CUDA kernel already accumulates in fp32.
    """
    dtype = hidden_TH.dtype
    wide = dtype if hidden_TH.is_cuda else torch.promote_types(dtype, torch.float32)
    shift = None if shift_H is None else shift_H.to(wide)
    normed_TH = F.layer_norm(hidden_TH.to(wide), weight_H.shape, weight_H.to(wide), shift, epsilon)
    return normed_TH.to(dtype)
