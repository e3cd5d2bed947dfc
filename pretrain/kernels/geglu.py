"""GeGLU (Shazeer 2020): the first half of a linear layer's product, through exact GELU, times the second half."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def geglu(x_T2F: Tensor) -> Tensor:
    """Return `gelu(x[:, :F]) * x[:, F:]`: [T, F]. The product has no bias."""
    gated_TF, gate_TF = x_T2F.chunk(2, dim=-1)
    return F.gelu(gated_TF) * gate_TF
