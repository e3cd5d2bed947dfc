"""Bias and exact GELU, computed with erf (Hendrycks & Gimpel, 2016), as in the published BERT."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def bias_gelu(x_TI: Tensor, bias_I: Tensor) -> Tensor:
    """Return `gelu(x_TI + bias_I)`, shaped like `x_TI`, which is a linear layer's product without its bias."""
    return F.gelu(x_TI + bias_I)
