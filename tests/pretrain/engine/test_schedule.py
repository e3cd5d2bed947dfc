from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from configs.schema import OptimizerConfig, TrainConfig
from pretrain.engine.schedule import (
    batch_size_at,
    batch_sizes,
    is_over,
    last_step_at,
    learning_rate_at,
    learning_rate_jump_warning,
    rows_of_all_steps,
)

LINEAR = OptimizerConfig(learning_rate=0.5, warmup_steps=4, decay="linear")
BUDGET = TrainConfig(steps=1000, budget_min=1.0)


def test_linear_warmup_and_decay_by_step() -> None:
    rates = [learning_rate_at(step, LINEAR, 8) for step in range(1, 9)]
    assert rates == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.375, 0.25, 0.125])
    assert learning_rate_at(9, LINEAR, 8) == 0.0


def test_without_warmup_rate_follows_the_published_polynomial() -> None:
    published = OptimizerConfig(learning_rate=1.0, warmup_steps=0)
    assert [learning_rate_at(step, published, 4) for step in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]


def test_constant_stays_at_the_peak() -> None:
    constant = OptimizerConfig(learning_rate=0.5, warmup_steps=2, decay="constant")
    assert [learning_rate_at(step, constant, 3) for step in (1, 2, 3, 400)] == [0.25, 0.5, 0.5, 0.5]


def test_polynomial_decay_is_a_power_of_the_remaining_share() -> None:
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
    """A long run saves at step 30; resuming with an end `decay_steps` later gives its decay."""
    trapezoid = OptimizerConfig(learning_rate=0.5, warmup_steps=2, decay="linear", decay_steps=10)
    assert all(
        learning_rate_at(step, trapezoid, 1000) == learning_rate_at(step, trapezoid, 40) for step in range(1, 31)
    )
    assert [learning_rate_at(step, trapezoid, 40) for step in (31, 32, 40)] == pytest.approx([0.5, 0.45, 0.05])


def test_changed_last_step_gives_a_warning_with_both_fixes() -> None:
    assert learning_rate_jump_warning(30, 100, 40, LINEAR) == (
        "train.steps was 100 until step 30 and is now 40: the learning rate jumps to the schedule of the longer "
        "or shorter decay; set train.steps=100 to continue as before, or optimizer.decay_steps=10 for a decay that "
        "begins here"
    )
    fixed = LINEAR.model_copy(update={"decay_steps": 10})
    assert [learning_rate_at(step, fixed, 40) for step in (31, 32, 40)] == pytest.approx([0.5, 0.45, 0.05])
    constant = LINEAR.model_copy(update={"decay": "constant"})
    assert learning_rate_jump_warning(30, 100, 100, LINEAR) is None
    assert learning_rate_jump_warning(30, 100, 40, constant) is None
    assert learning_rate_jump_warning(30, 100, 40, fixed) is None


def test_the_batch_grows_linearly_to_its_size() -> None:
    train = TrainConfig(steps=7, global_batch_size=10, first_global_batch_size=2, batch_growth_steps=4)
    assert [batch_size_at(step, train) for step in range(1, 8)] == [2, 4, 6, 8, 10, 10, 10]
    assert rows_of_all_steps(train) == 50
    assert list(batch_sizes(0, train)) == [2, 4, 6, 8, 10, 10, 10]
    assert list(batch_sizes(5, train)) == [10, 10]
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


def test_a_budget_ends_the_training_when_it_is_spent() -> None:
    assert last_step_at(0, 0.0, BUDGET) == 1000
    assert last_step_at(10, 3.0, BUDGET) == pytest.approx(200)
    assert last_step_at(10, 0.3, BUDGET) == 1000  # the steps are over before
    assert [is_over(7, time_s, BUDGET) for time_s in (59.9, 60.0, 61.0)] == [False, True, True]
    assert [is_over(step, 1.0, BUDGET) for step in (999, 1000)] == [False, True]
    assert not is_over(7, 1e9, BUDGET.model_copy(update={"budget_min": 0.0}))


@pytest.mark.parametrize("warmup", [0, 20])
@pytest.mark.parametrize("decay_steps", [0, 30])
def test_decay_ends_with_the_budget_at_any_speed(warmup: int, decay_steps: int) -> None:
    seconds = np.random.default_rng(warmup + decay_steps).uniform(0.05, 0.5, 600)
    optimizer = OptimizerConfig(learning_rate=1.0, warmup_steps=warmup, decay_steps=decay_steps)
    rates, step, time_s = [], 0, 0.0
    while not is_over(step, time_s, BUDGET):
        rates.append(learning_rate_at(step + 1, optimizer, last_step_at(step, time_s, BUDGET)))
        time_s += seconds[step]
        step += 1
    assert 60.0 <= time_s < 60.5
    assert all(0.0 < rate <= 1.0 for rate in rates)
    assert rates[warmup] == 1.0
    decay_s = (decay_steps or step - warmup) * time_s / step
    assert rates[-1] <= 1.1 * 0.5 / decay_s  # the last step begins at most 0.5 s before the end


def test_resume_on_a_faster_machine_also_decays_to_0() -> None:
    optimizer = OptimizerConfig(learning_rate=1.0, warmup_steps=0)
    slow = [learning_rate_at(step + 1, optimizer, last_step_at(step, step * 1.0, BUDGET)) for step in range(31)]
    assert slow[30] == pytest.approx(0.5)
    fast = [(30 + step, 30 + step * 0.1) for step in range(301)]
    rates = [learning_rate_at(step + 1, optimizer, last_step_at(step, time_s, BUDGET)) for step, time_s in fast]
    assert rates == pytest.approx([1 - time_s / 60 for _, time_s in fast])
