"""BERT's two parameter groups, and the state that every optimizer keeps of a parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The model's parameters in two groups: with `weight_decay`, and without.

    As published, biases and LayerNorm are not decayed, nor adapted by LAMB: exactly the parameters of one dimension.
    Each group holds `params`, their `names` in the same order, `weight_decay` and `adapted`. A tied weight comes once.
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
    """The state of `weights`, as AdamW has it: made here unless a step has made it, so that it can be loaded."""
    state: dict[str, Tensor] = optimizer.state[weights]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=weights.device)
        state.update({name: torch.zeros_like(weights, requires_grad=False) for name in MOMENTS})
    return state
