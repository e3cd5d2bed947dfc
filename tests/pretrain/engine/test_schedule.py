from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, strategies as st

from configs.schema import OptimizerConfig, TrainConfig
from pretrain.engine.schedule import (
    batch_size_at,
    batch_sizes,
    early_end_warning,
    is_over,
    last_step_at,
    learning_rate_at,
    learning_rate_jump,
    rows_of_all_steps,
    steps_of_rows,
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


@pytest.mark.parametrize(
    "change",
    [{"decay": "constant"}, {"decay_steps": 2}, {"decay": "polynomial", "decay_power": 3.0}, {"learning_rate": 1.0}],
)
def test_a_changed_schedule_that_moves_the_rate_gives_a_warning_whose_fix_keeps_it(change: dict[str, object]) -> None:
    steps, now = 40, OptimizerConfig.model_validate(LINEAR.model_dump() | change)
    rates = [learning_rate_at(31, optimizer, steps) for optimizer in (LINEAR, now)]
    warning = learning_rate_jump(30, *rates)
    assert warning
    assert f"the learning rate of step 31 is {rates[1]:.4g} with these settings, but {rates[0]:.4g}" in warning
    values = dict(re.findall(r"optimizer\.(\w+)=([\d.e-]+)", warning))
    begin = {"decay_from_step": int(values["decay_from_step"]), "decay_from_rate": float(values["decay_from_rate"])}
    fixed = OptimizerConfig.model_validate(now.model_dump() | {"decay_steps": 0} | begin)
    assert learning_rate_at(31, fixed, steps) == pytest.approx(rates[0], rel=1e-5)
    assert learning_rate_at(40, fixed, steps) <= learning_rate_at(31, fixed, steps)
    assert learning_rate_jump(30, rates[0], learning_rate_at(31, fixed, steps)) is None


def test_an_unchanged_or_hardly_changed_rate_gives_no_warning() -> None:
    assert learning_rate_jump(30, 0.5, 0.5) is None
    assert learning_rate_jump(30, 0.5, 0.4999) is None
    assert learning_rate_jump(30, 0.0, 0.0) is None
    assert learning_rate_jump(30, 0.5, 0.4)


def test_a_cosine_falls_to_its_minimum_along_half_a_wave() -> None:
    cosine = OptimizerConfig(learning_rate=1.0, warmup_steps=0, decay="cosine", minimum_learning_rate=0.2)
    rates = [learning_rate_at(step, cosine, 8) for step in (1, 3, 5, 7, 9)]
    assert rates == pytest.approx([1.0, 0.2 + 0.8 * 0.8535534, 0.6, 0.2 + 0.8 * 0.1464466, 0.2])


def test_a_root_falls_fastest_at_its_begin() -> None:
    root = OptimizerConfig(learning_rate=1.0, warmup_steps=0, decay="root", minimum_learning_rate=0.2)
    rates = [learning_rate_at(step, root, 16) for step in (1, 2, 5, 10, 17)]
    assert rates == pytest.approx([0.2 + 0.8 * (1 - share**0.5) for share in (0, 1 / 16, 4 / 16, 9 / 16, 1)])


@pytest.mark.parametrize("decay", ["linear", "polynomial", "cosine", "root"])
def test_no_decay_falls_below_the_minimum(decay: str) -> None:
    settings = {"learning_rate": 1.0, "warmup_steps": 2, "decay": decay, "minimum_learning_rate": 0.1}
    optimizer = OptimizerConfig.model_validate(settings)
    rates = [learning_rate_at(step, optimizer, 50) for step in range(3, 52)]
    assert rates == sorted(rates, reverse=True)
    assert [rates[0], rates[-1]] == pytest.approx([1.0, 0.1])


def test_the_warmup_can_be_a_share_of_the_steps() -> None:
    share = OptimizerConfig(learning_rate=1.0, warmup_share=0.1)
    steps = OptimizerConfig(learning_rate=1.0, warmup_steps=20)
    assert all(learning_rate_at(step, share, 200) == learning_rate_at(step, steps, 200) for step in range(1, 201))


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


@given(st.integers(0, 50), st.integers(1, 50), st.sampled_from(["linear", "polynomial", "cosine", "root"]), st.data())
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


def test_a_budget_counts_rows_and_leaves_out_the_first_step() -> None:
    growing = BUDGET.model_copy(
        update={"global_batch_size": 100, "first_global_batch_size": 10, "batch_growth_steps": 100}
    )
    rows_per_s, slow_s = 50.0, 20.0
    for step in (10, 40, 50):
        rows = sum(batch_size_at(number, growing) for number in range(1, step + 1))
        slow_rows = batch_size_at(1, growing)
        time_s = slow_s + (rows - slow_rows) / rows_per_s
        last = last_step_at(step, time_s, growing, slow_s, slow_rows)
        total = sum(batch_size_at(number, growing) for number in range(1, round(last) + 1))
        assert total == pytest.approx(40 * rows_per_s, rel=0.05)  # what 40 s after the first step allow
    assert last_step_at(1, slow_s, growing, slow_s, batch_size_at(1, growing)) == 1000  # the speed is not known yet


def test_a_budget_that_ends_before_the_peak_is_named() -> None:
    optimizer = OptimizerConfig(warmup_steps=100)
    assert "ends at about step 40, before the warmup, which takes 100 steps" in (
        early_end_warning(40.2, optimizer) or ""
    )
    assert early_end_warning(101, optimizer) is None
    assert early_end_warning(40, OptimizerConfig(warmup_share=0.1)) is None


@pytest.mark.parametrize("growth", [0, 3, 50])
def test_steps_of_rows_is_the_inverse_of_the_rows_of_all_steps(growth: int) -> None:
    train = TrainConfig(global_batch_size=64, first_global_batch_size=8, batch_growth_steps=growth)
    for steps in (1, 2, 10, 49, 200):
        rows = rows_of_all_steps(train.model_copy(update={"steps": steps}))
        assert abs(steps_of_rows(rows, train) - steps) <= 1
