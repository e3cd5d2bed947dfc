from __future__ import annotations

import torch
from torch import nn

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers import MOMENTS, ensure_moments, make_adamw, parameter_groups
from tests.distributed import small

OPTIMIZER = OptimizerConfig()


def test_biases_and_layer_norm_have_no_decay_and_tied_weight_appears_once() -> None:
    decayed, plain = parameter_groups(small.build(), 0.1)
    assert decayed["names"] == ["tokens.weight", "positions.weight", "up.weight", "down.weight", "row_head.weight"]
    assert plain["names"] == ["norm.weight", "norm.bias", "up.bias", "down.bias", "token_head.bias", "row_head.bias"]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert (decayed["adapted"], plain["adapted"]) == (True, False)


def test_groups_keep_names_and_parameters_aligned() -> None:
    model = small.build()
    named = dict(model.named_parameters())
    for group in parameter_groups(model, 0.1):
        assert all(named[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True))


def test_empty_group_is_omitted() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_ensured_moments_equal_those_of_a_step() -> None:
    ours, theirs = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))
    prepared, fresh = make_adamw([{"params": [ours]}], OPTIMIZER), make_adamw([{"params": [theirs]}], OPTIMIZER)
    state = ensure_moments(prepared, ours)
    assert state is ensure_moments(prepared, ours)
    for adam, parameter in ((prepared, ours), (fresh, theirs)):
        parameter.grad = torch.arange(5.0)
        adam.param_groups[0]["lr"] = 0.1
        adam.step()
    assert torch.equal(ours, theirs)
    assert state.keys() == fresh.state[theirs].keys() == {"step", *MOMENTS}
    for name, tensor in state.items():
        assert tensor.dtype == fresh.state[theirs][name].dtype
        assert torch.equal(tensor, fresh.state[theirs][name])


def test_initial_learning_rate_changes_nothing() -> None:
    weights = nn.Parameter(torch.ones(3))
    adam = make_adamw([{"params": [weights], "weight_decay": 0.5}], OPTIMIZER)
    weights.grad = torch.ones(3)
    adam.step()
    assert torch.equal(weights, torch.ones(3))
