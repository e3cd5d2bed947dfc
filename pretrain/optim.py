"""BERT's two parameter groups, AdamW over them, and what follows a schedule: the learning rate and the batch size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from configs.schema import OptimizerConfig, TrainConfig

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


def adamw(groups: list[dict[str, Any]], optimizer: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW in one pass over memory, on CPU and GPU; its learning rate is 0 until a step sets it."""
    return torch.optim.AdamW(groups, lr=0.0, betas=(optimizer.beta1, optimizer.beta2), eps=optimizer.eps, fused=True)


def ensure_moments(optimizer: torch.optim.Optimizer, weights: Tensor) -> dict[str, Tensor]:
    """AdamW's state of `weights`, made now if the first step has not: what it would make, so that it can be loaded."""
    state: dict[str, Tensor] = optimizer.state[weights]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=weights.device)
        state.update({name: torch.zeros_like(weights, requires_grad=False) for name in MOMENTS})
    return state


def learning_rate_at(step: int, optimizer: OptimizerConfig, steps: int) -> float:
    """The learning rate of one step (Devlin et al. 2018, A.2); the first is step 1, the last is `steps`.

    Warmup: `learning_rate * step / warmup_steps`, so that step `warmup_steps` has the peak and no step has 0. The decay
    goes from the peak at its first step to 0 at step `steps + 1`, which is not made: with the share of its steps that
    is left, or that share to the power `decay_power`. Its first step is the one after the warmup, or the first of the
    last `decay_steps`; between the two, and in a `constant` schedule to the end, the rate stays at the peak.
    """
    assert step >= 1
    peak, warmup = optimizer.learning_rate, optimizer.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    decay_steps = optimizer.decay_steps or steps - warmup
    left = steps + 1 - step
    if optimizer.decay == "constant" or left >= decay_steps:
        return peak
    power = optimizer.decay_power if optimizer.decay == "polynomial" else 1.0
    return float(peak * (max(0, left) / decay_steps) ** power)


def batch_size_at(step: int, train: TrainConfig) -> int:
    """Rows of one step's global batch; it grows linearly, rounded down, over the first `batch_growth_steps`."""
    assert step >= 1
    first, last, growth = train.first_global_batch_size, train.global_batch_size, train.batch_growth_steps
    return last if step > growth else first + (last - first) * (step - 1) // growth


def rows_of_all_steps(train: TrainConfig) -> int:
    """Rows that a whole training takes."""
    growing = min(train.batch_growth_steps, train.steps)
    return (train.steps - growing) * train.global_batch_size + sum(
        batch_size_at(step, train) for step in range(1, growing + 1)
    )
