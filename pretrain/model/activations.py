"""The activations of other people's models, in plain torch, by transformers' names. GELU is a fused operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from configs.schema import Activation
from pretrain.kernels import Kernels

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_10": lambda x: F.gelu(x).clamp(-10, 10),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "laplace": lambda x: 0.5 * (1 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2)))),
    "sqrtsoftplus": lambda x: F.softplus(x).sqrt(),
    "linear": lambda x: x,
}


def activated(x_TI: Tensor, bias_I: Tensor, name: Activation, kernels: Kernels) -> Tensor:
    """Return the activation of `x_TI + bias_I`, where `x_TI` is a linear layer's product without its bias."""
    return kernels.bias_gelu(x_TI, bias_I) if name == "gelu" else ACTIVATIONS[name](x_TI + bias_I)
