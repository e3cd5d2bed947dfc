"""Schedules of the learning rate, the batch size, and the end of training. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from configs.schema import OptimizerConfig, TrainConfig


def last_step_at(step: int, time_s: float, train: TrainConfig) -> float:
    """Return the expected last step of a training after `step` steps that took `time_s` seconds.

    It is `train.steps`, or the number of steps that `train.budget_min` allows at the mean speed so far, if that is
    less. Because the speed is measured, a training with a budget, and its resume, are not reproducible bit for bit.
    """
    if not train.budget_min or not time_s:
        return train.steps
    return min(train.steps, step * 60 * train.budget_min / time_s)


def is_over(step: int, time_s: float, train: TrainConfig) -> bool:
    """Return whether training ends after `step` steps that took `time_s` seconds."""
    return step >= last_step_at(step, time_s, train)


def learning_rate_at(step: int, optimizer: OptimizerConfig, steps: float) -> float:
    """Return the learning rate of one step (Devlin et al. 2018, A.2). Steps count from 1 to `steps`.

    Warmup: `learning_rate * step / warmup_steps`, so that step `warmup_steps` has the peak and no step has 0. The decay
    falls from the peak at its first step to 0 at step `steps + 1`, which is never made: in proportion to the remaining
    share of its steps, or to that share to the power `decay_power`. Its first step is the one after the warmup, or the
    first of the last `decay_steps`. Between warmup and decay, and in a `constant` schedule until the end, the rate
    stays at the peak.
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


def learning_rate_jump_warning(step: int, before: int, now: int, optimizer: OptimizerConfig) -> str | None:
    """Return a warning with two fixes if a change of `train.steps` after `step` makes the learning rate jump."""
    if before == now or optimizer.decay == "constant" or optimizer.decay_steps:
        return None
    return (
        f"train.steps was {before} until step {step} and is now {now}: the learning rate jumps to the schedule of the "
        f"longer or shorter decay; set train.steps={before} to continue as before, or "
        f"optimizer.decay_steps={max(1, now - step)} for a decay that begins here"
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
