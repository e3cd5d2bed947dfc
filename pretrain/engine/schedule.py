"""Schedules of the learning rate, the batch size, and the end of training. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from configs.schema import OptimizerConfig, TrainConfig

LEAST_JUMP = 0.01  # of the learning rate at a resume, that is worth a warning


def last_step_at(step: int, time_s: float, train: TrainConfig, slow_s: float = 0.0, slow_rows: int = 0) -> float:
    """Return the expected last step of a training after `step` steps that took `time_s` seconds.

    It is `train.steps`, or the number of steps for which `train.budget_min` lasts at the mean speed so far, if that is
    less. The speed is in rows per second, because steps grow with the batch, and leaves out `slow_rows` rows that took
    `slow_s` seconds: the first step of each start, which compiles kernels. Because the speed is measured, a training
    with a budget, and its resume, are not reproducible bit for bit.
    """
    rows, seconds = _rows_until(step, train) - slow_rows, time_s - slow_s
    if not train.budget_min or rows <= 0 or seconds <= 0:
        return train.steps
    left_rows = max(0.0, 60 * train.budget_min - time_s) * rows / seconds
    return min(train.steps, _steps_of_rows(_rows_until(step, train) + left_rows, train))


def is_over(step: int, time_s: float, train: TrainConfig) -> bool:
    """Return whether training ends after `step` steps that took `time_s` seconds."""
    return step >= train.steps or (train.budget_min > 0 and time_s >= 60 * train.budget_min)


def learning_rate_at(step: int, optimizer: OptimizerConfig, steps: float) -> float:
    """Return the learning rate of one step (Devlin et al. 2018, A.2). Steps count from 1 to `steps`.

    Warmup: `learning_rate * step / warmup`, so that the last warmup step has the peak and no step has 0. The decay
    falls from the peak at its first step to `minimum_learning_rate` at step `steps + 1`, which is never made: in
    proportion to the remaining share of its steps, to that share to the power `decay_power`, along half a cosine
    (Loshchilov and Hutter 2017, equation 5), or as 1 minus the root of the share that is done (Hägele et al. 2024). Its
    first step is the one after the warmup, or the first of the last `decay_steps`, or the one after `decay_from_step`,
    and then it falls from `decay_from_rate`. Between warmup and decay, and in a `constant` schedule until the end, the
    rate stays at the peak.
    """
    assert step >= 1
    top, begin = optimizer.learning_rate, optimizer.warmup_of(steps)
    if optimizer.decay_from_step and step > optimizer.decay_from_step:
        top, begin = optimizer.decay_from_rate, optimizer.decay_from_step
    elif step <= begin:
        return top * step / begin
    decay_steps = optimizer.decay_steps or steps - begin
    left = steps + 1 - step
    if optimizer.decay == "constant" or left >= decay_steps:
        return top
    return optimizer.minimum_learning_rate + _shape(max(0, left) / decay_steps, optimizer) * (
        top - optimizer.minimum_learning_rate
    )


def _shape(share: float, optimizer: OptimizerConfig) -> float:
    """Return the share of the learning rate when this share of the decay is left."""
    if optimizer.decay == "cosine":
        return (1 - math.cos(math.pi * share)) / 2
    if optimizer.decay == "root":
        return 1 - math.sqrt(1 - share)
    return float(share**optimizer.decay_power) if optimizer.decay == "polynomial" else share


def learning_rate_jump(step: int, before: float, now: float) -> str | None:
    """Return a warning with two fixes if the schedule of a resumed training changes the rate of the next step.

    `before` is the rate after `step` by the settings that the run was trained with, and `now` by the present ones.
    """
    if abs(now - before) <= LEAST_JUMP * max(now, before):
        return None
    return (
        f"the learning rate of step {step + 1} is {now:.4g} with these settings, but {before:.4g} with those that "
        f"the run was trained with; undo the change of its schedule to continue as before, or set "
        f"optimizer.decay_from_step={step} optimizer.decay_from_rate={before:.6g} for a decay that begins here"
    )


def early_end_warning(last_step: float, optimizer: OptimizerConfig) -> str | None:
    """Return a warning if a time budget ends the training before the learning rate reaches its peak."""
    if optimizer.warmup_share or last_step > optimizer.warmup_steps:
        return None
    return (
        f"train.budget_min ends at about step {last_step:.0f}, before the warmup, which takes "
        f"{optimizer.warmup_steps} steps: lower optimizer.warmup_steps, or set optimizer.warmup_share"
    )


def batch_size_at(step: int, train: TrainConfig) -> int:
    """Return the global batch size of a step. It grows linearly over `batch_growth_steps`, rounded down."""
    assert step >= 1
    first, last, growth = train.first_global_batch_size, train.global_batch_size, train.batch_growth_steps
    return last if step > growth else first + (last - first) * (step - 1) // growth


def batch_sizes(step: int, train: TrainConfig) -> Iterator[int]:
    """Yield the global batch size of each step after `step`, up to `train.steps`."""
    return (batch_size_at(number, train) for number in range(step + 1, train.steps + 1))


def rows_of_all_steps(train: TrainConfig) -> int:
    """Return the number of rows that a complete training consumes."""
    growing = min(train.batch_growth_steps, train.steps)
    return (train.steps - growing) * train.global_batch_size + sum(
        batch_size_at(step, train) for step in range(1, growing + 1)
    )


def steps_of_rows(rows: float, train: TrainConfig) -> int:
    """Return the number of steps, at least 1, that consume about this many rows."""
    return max(1, round(_steps_of_rows(rows, train)))


def _rows_until(step: float, train: TrainConfig) -> float:
    """Return the rows of the first `step` steps, with a batch that grows continuously."""
    first, last, growth = train.first_global_batch_size, train.global_batch_size, train.batch_growth_steps
    growing = min(step, growth)
    slope = (last - first) / growth if growth else 0.0
    return first * growing + slope * growing * (growing - 1) / 2 + last * (step - growing)


def _steps_of_rows(rows: float, train: TrainConfig) -> float:
    """The inverse of `_rows_until`."""
    growth, last = train.batch_growth_steps, train.global_batch_size
    of_growth = _rows_until(growth, train)
    if rows >= of_growth:
        return growth + (rows - of_growth) / last
    slope = (last - train.first_global_batch_size) / growth
    if not slope:
        return rows / last
    linear = train.first_global_batch_size - slope / 2
    return (math.sqrt(linear**2 + 2 * slope * rows) - linear) / slope
