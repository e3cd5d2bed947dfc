"""Bias and GELU, the exact one with erf (Hendrycks & Gimpel, 2016), as BERT was published."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bias_gelu(x_TI: Tensor, bias_I: Tensor) -> Tensor:
    """`gelu(x_TI + bias_I)`: a tensor like `x_TI`, which is a linear layer's product without its bias."""
    return F.gelu(x_TI + bias_I)
