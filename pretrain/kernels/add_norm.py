"""The end of a sub-layer: residual + dropout(x + bias), normalised in the post-LayerNorm form.

T tokens, H the hidden width.
"""

from __future__ import annotations

from torch import Tensor

from pretrain.kernels.dropout import Dropout, add_dropped
from pretrain.kernels.layer_norm import layer_norm


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


def add(x_TH: Tensor, bias_H: Tensor, residual_TH: Tensor, dropout: Dropout | None = None) -> Tensor:
    """Return `residual_TH + dropout(x_TH + bias_H)`, the end of a pre-LayerNorm sub-layer."""
    return add_dropped(residual_TH, x_TH + bias_H, dropout)
