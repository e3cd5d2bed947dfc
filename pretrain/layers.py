"""Embedding and LayerNorm that add up their gradients in fp32, whatever their weights' precision.

On a CPU torch adds the gradients of bf16 embeddings and LayerNorm parameters up in bf16: a sum of ones stays at 256.
GPU kernels accumulate in fp32 by themselves; on a CPU these layers run in fp32 inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Embedding(nn.Embedding):
    """`nn.Embedding`, its vectors in fp32 where the weights are 16 bits on a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the base class's name
        """The vectors of integer `input`: [...] → [..., H]."""
        return F.embedding(input, _exact(self.weight))


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm` (Ba et al. 2016) over the last axis. Its output has the weights' precision."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the base class's name
        """[..., H] → [..., H]."""
        weight, bias = _exact(self.weight), _exact(self.bias)
        return F.layer_norm(input.to(weight.dtype), self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)


def _exact(weight: Tensor) -> Tensor:
    return weight if weight.is_cuda else weight.to(torch.promote_types(weight.dtype, torch.float32))
