from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from configs.schema import OptimizerConfig, TrainConfig
from pretrain.optim import (
    MOMENTS,
    adamw,
    batch_size_at,
    ensure_moments,
    learning_rate_at,
    parameter_groups,
    rows_of_all_steps,
)
from tests.distributed import small

LINEAR = OptimizerConfig(learning_rate=0.5, warmup_steps=4, decay="linear")


def test_biases_and_layer_norm_are_not_decayed_and_a_tied_weight_comes_once() -> None:
    decayed, plain = parameter_groups(small.build(), 0.1)
    assert decayed["names"] == ["tokens.weight", "positions.weight", "up.weight", "down.weight", "row_head.weight"]
    assert plain["names"] == ["norm.weight", "norm.bias", "up.bias", "down.bias", "token_head.bias", "row_head.bias"]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert (decayed["adapted"], plain["adapted"]) == (True, False)


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


def test_a_polynomial_decay_is_a_power_of_what_is_left() -> None:
    root = OptimizerConfig(learning_rate=2.0, warmup_steps=1, decay="polynomial", decay_power=0.5)
    assert [learning_rate_at(step, root, 5) for step in (1, 2, 5, 6)] == [2.0, 2.0, 1.0, 0.0]
    line = root.model_copy(update={"decay_power": 1.0})
    straight = root.model_copy(update={"decay": "linear"})
    assert all(learning_rate_at(step, line, 9) == learning_rate_at(step, straight, 9) for step in range(1, 11))


def test_between_warmup_and_the_last_steps_the_rate_stays_at_the_peak() -> None:
    trapezoid = OptimizerConfig(learning_rate=0.5, warmup_steps=2, decay="linear", decay_steps=4)
    rates = [learning_rate_at(step, trapezoid, 9) for step in range(1, 10)]
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.375, 0.25, 0.125])


def test_a_decay_can_begin_at_any_checkpoint() -> None:
    """A run whose end is far saves at step 30; going on from there with an end `decay_steps` away is its decay."""
    trapezoid = OptimizerConfig(learning_rate=0.5, warmup_steps=2, decay="linear", decay_steps=10)
    assert all(
        learning_rate_at(step, trapezoid, 1000) == learning_rate_at(step, trapezoid, 40) for step in range(1, 31)
    )
    assert [learning_rate_at(step, trapezoid, 40) for step in (31, 32, 40)] == pytest.approx([0.5, 0.45, 0.05])


def test_the_batch_grows_linearly_to_its_size() -> None:
    train = TrainConfig(steps=7, global_batch_size=10, first_global_batch_size=2, batch_growth_steps=4)
    assert [batch_size_at(step, train) for step in range(1, 8)] == [2, 4, 6, 8, 10, 10, 10]
    assert rows_of_all_steps(train) == 50
    assert rows_of_all_steps(train.model_copy(update={"steps": 3})) == 12


def test_without_growth_every_batch_has_its_size() -> None:
    train = TrainConfig(steps=7, global_batch_size=10)
    assert {batch_size_at(step, train) for step in range(1, 8)} == {10}
    assert rows_of_all_steps(train) == 70


@given(st.integers(0, 50), st.integers(1, 50), st.sampled_from(["linear", "polynomial"]), st.data())
def test_every_step_has_a_rate_above_zero_and_up_to_the_peak(
    warmup: int, after: int, decay: str, data: st.DataObject
) -> None:
    decay_steps = data.draw(st.integers(0, after))
    settings = {"learning_rate": 0.5, "warmup_steps": warmup, "decay": decay, "decay_steps": decay_steps}
    optimizer = OptimizerConfig.model_validate(settings)
    step = data.draw(st.integers(1, warmup + after))
    assert 0.0 < learning_rate_at(step, optimizer, warmup + after) <= 0.5
    assert learning_rate_at(warmup + 1, optimizer, warmup + after) == 0.5
