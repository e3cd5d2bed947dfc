"""LayerNorm (Ba et al., 2016) over the last axis, with its parameters' gradients summed in fp32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def layer_norm(hidden_TH: Tensor, weight_H: Tensor, shift_H: Tensor, epsilon: float) -> Tensor:
    """Return the normalised rows, with the shape and dtype of `hidden_TH`.

    On a CPU torch sums bf16 gradients of weight and shift in bf16, where a sum of ones stops growing at 256. 16-bit
    input is therefore computed in fp32 there, which is no slower. torch's CUDA kernel already accumulates in fp32.
    """
    dtype = hidden_TH.dtype
    wide = dtype if hidden_TH.is_cuda else torch.promote_types(dtype, torch.float32)
    normed_TH = F.layer_norm(hidden_TH.to(wide), weight_H.shape, weight_H.to(wide), shift_H.to(wide), epsilon)
    return normed_TH.to(dtype)
