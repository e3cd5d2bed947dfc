"""Each `optimizer.name` of the recipe has an optimizer, which keeps the state that checkpoints contain."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers import MOMENTS, OPTIMIZERS, FlatSlice, ensure_moments, parameter_groups
from tests.distributed import small

NAMES = get_args(OptimizerConfig.model_fields["name"].annotation)


def test_schema_and_table_have_the_same_names() -> None:
    assert list(OPTIMIZERS) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_step_updates_every_weight_and_both_moments(name: str) -> None:
    model, kind = small.build(), OPTIMIZERS[name]
    optimizer = kind.make(parameter_groups(model, 0.1), OptimizerConfig(), "reference")
    slices = [FlatSlice(name, 0, weights, 0, weights.numel()) for name, weights in model.named_parameters()]
    kind.locate(optimizer, slices, is_partitioned=False)
    before = {weights: weights.detach().clone() for weights in model.parameters()}
    for group in optimizer.param_groups:
        group |= {"lr": 0.1, "step": 1}
    for weights in before:
        weights.grad = torch.ones_like(weights)
        assert ensure_moments(optimizer, weights).keys() == {"step", *MOMENTS}
    optimizer.step()
    for weights, old in before.items():
        assert (weights != old).all()
        assert all((optimizer.state[weights][moment] > 0).all() for moment in MOMENTS)
