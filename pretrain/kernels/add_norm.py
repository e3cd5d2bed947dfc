"""The end of a post-LayerNorm sub-layer: LayerNorm(residual + dropout(x + bias)). T tokens, H the hidden width."""

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
    hidden_TH = add_dropped(residual_TH, x_TH + bias_H, dropout)
    return layer_norm(hidden_TH, weight_H, shift_H, epsilon)
