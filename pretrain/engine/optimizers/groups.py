"""BERT's two parameter groups, and the state that every optimizer keeps for a parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return the model's parameters in two groups: with `weight_decay`, and without.

    As published, biases and LayerNorm, which are exactly the one-dimensional parameters, have neither weight decay nor
    LAMB's trust ratio (`adapted`). Each group has `params`, their `names` in the same order, `weight_decay` and
    `adapted`. A tied weight is included once.
    """
    named = dict(model.named_parameters())
    decayed = {name: parameter for name, parameter in named.items() if parameter.dim() > 1}
    plain = {name: parameter for name, parameter in named.items() if parameter.dim() <= 1}
    return [
        {"names": list(group), "params": list(group.values()), "weight_decay": decay, "adapted": adapted}
        for group, decay, adapted in ((decayed, weight_decay, True), (plain, 0.0, False))
        if group
    ]


def ensure_moments(optimizer: torch.optim.Optimizer, weights: Tensor) -> dict[str, Tensor]:
    """Return the AdamW state of `weights`. It is created if no step has created it, so that it can be loaded."""
    state: dict[str, Tensor] = optimizer.state[weights]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=weights.device)
        state.update({name: torch.zeros_like(weights, requires_grad=False) for name in MOMENTS})
    return state
