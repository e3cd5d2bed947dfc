from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from configs.schema import OptimizerConfig
from pretrain.optim import MOMENTS, adamw, ensure_moments, learning_rate_at, parameter_groups
from tests.distributed import small

LINEAR = OptimizerConfig(learning_rate=0.5, warmup_steps=4, decay="linear")


def test_biases_and_layer_norm_are_not_decayed_and_a_tied_weight_comes_once() -> None:
    decayed, plain = parameter_groups(small.build(), 0.1)
    assert decayed["names"] == ["tokens.weight", "positions.weight", "up.weight", "down.weight", "row_head.weight"]
    assert plain["names"] == ["norm.weight", "norm.bias", "up.bias", "down.bias", "token_head.bias", "row_head.bias"]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)


def test_groups_keep_names_and_parameters_in_step() -> None:
    model = small.build()
    named = dict(model.named_parameters())
    for group in parameter_groups(model, 0.1):
        assert all(named[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True))


def test_a_group_that_would_be_empty_is_left_out() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False), 0.1)) == 1


def test_moments_made_beforehand_are_those_that_a_step_would_make() -> None:
    ours, theirs = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))
    prepared, fresh = adamw([{"params": [ours]}], LINEAR), adamw([{"params": [theirs]}], LINEAR)
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


def test_nothing_moves_before_a_learning_rate_is_set() -> None:
    weights = nn.Parameter(torch.ones(3))
    adam = adamw([{"params": [weights], "weight_decay": 0.5}], LINEAR)
    weights.grad = torch.ones(3)
    adam.step()
    assert torch.equal(weights, torch.ones(3))


def test_linear_warmup_and_decay_by_step() -> None:
    rates = [learning_rate_at(step, LINEAR, 8) for step in range(1, 9)]
    assert rates == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.375, 0.25, 0.125])
    assert learning_rate_at(9, LINEAR, 8) == 0.0


def test_without_warmup_the_rate_is_that_of_the_published_polynomial() -> None:
    published = OptimizerConfig(learning_rate=1.0, warmup_steps=0)
    assert [learning_rate_at(step, published, 4) for step in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]


def test_constant_stays_at_the_peak() -> None:
    constant = OptimizerConfig(learning_rate=0.5, warmup_steps=2, decay="constant")
    assert [learning_rate_at(step, constant, 3) for step in (1, 2, 3, 400)] == [0.25, 0.5, 0.5, 0.5]


@given(st.integers(0, 50), st.integers(1, 50), st.data())
def test_every_step_has_a_rate_above_zero_and_up_to_the_peak(warmup: int, after: int, data: st.DataObject) -> None:
    optimizer = OptimizerConfig(learning_rate=0.5, warmup_steps=warmup)
    step = data.draw(st.integers(1, warmup + after))
    assert 0.0 < learning_rate_at(step, optimizer, warmup + after) <= 0.5
    assert learning_rate_at(warmup + 1, optimizer, warmup + after) == 0.5
