"""RAdam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", 2020): torch's own."""

from __future__ import annotations

import torch

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers.kind import Groups, OptimizerKind
from pretrain.kernels import Backend


def radam(groups: Groups, optimizer: OptimizerConfig, _: Backend) -> torch.optim.Optimizer:
    """RAdam with decoupled weight decay; its learning rate is 0 until a step sets it."""
    betas = (optimizer.beta1, optimizer.beta2)
    return torch.optim.RAdam(groups, lr=0.0, betas=betas, eps=optimizer.eps, decoupled_weight_decay=True)


RADAM = OptimizerKind(make=radam)
