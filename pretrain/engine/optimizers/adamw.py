"""AdamW: torch's implementation, or `MasterAdamW` for one rank on a CPU in bf16."""

from __future__ import annotations

import torch

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers.kind import Groups, OptimizerKind
from pretrain.engine.optimizers.master_adamw import MasterAdamW


def make_adamw(groups: Groups, optimizer: OptimizerConfig) -> torch.optim.AdamW:
    """Return torch's fused AdamW, on CPU and GPU. Its learning rate is 0 until a step sets it."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.eps, fused=True)


ADAMW = OptimizerKind(
    make=lambda groups, optimizer, _: make_adamw(groups, optimizer),
    make_one_pass=MasterAdamW,
    is_known_to_deepspeed=True,
)
