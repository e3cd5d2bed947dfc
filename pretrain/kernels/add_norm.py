"""The end of a sub-layer: residual + dropout(x + bias), in the post form normalised. T tokens, H the hidden width."""

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
    """LayerNorm (`weight_H`, `shift_H`, `epsilon`) of `residual_TH + dropout(x_TH + bias_H)`: a tensor like `x_TH`.

    `x_TH` is a linear layer's product without its bias. All of plain torch: the statement that the fused op is compared
    with, and the path where there is no Triton.
    """
    return layer_norm(add(x_TH, bias_H, residual_TH, dropout), weight_H, shift_H, epsilon)


def add(x_TH: Tensor, bias_H: Tensor, residual_TH: Tensor, dropout: Dropout | None = None) -> Tensor:
    """`residual_TH + dropout(x_TH + bias_H)`, as a pre-LayerNorm sub-layer ends."""
    return add_dropped(residual_TH, x_TH + bias_H, dropout)
