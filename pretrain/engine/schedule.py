"""What follows a schedule: the learning rate, the batch size, and the end. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from configs.schema import OptimizerConfig, TrainConfig


def last_step_at(step: int, time_s: float, train: TrainConfig) -> float:
    """The last step of a training, as it looks after `step` steps that took `time_s` seconds.

    It is `train.steps`, or what `train.budget_min` comes to at the mean pace so far, if that is less. Since the pace is
    measured, a training with a budget cannot be repeated to the last bit, nor can its resume.
    """
    if not train.budget_min or not time_s:
        return train.steps
    return min(train.steps, step * 60 * train.budget_min / time_s)


def is_over(step: int, time_s: float, train: TrainConfig) -> bool:
    """Whether a training ends after `step` steps that took `time_s` seconds."""
    return step >= last_step_at(step, time_s, train)


def learning_rate_at(step: int, optimizer: OptimizerConfig, steps: float) -> float:
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


def bend_of_decay(step: int, before: int, now: int, optimizer: OptimizerConfig) -> str | None:
    """A warning, with its two mends, when another `train.steps` after `step` makes the learning rate jump."""
    if before == now or optimizer.decay == "constant" or optimizer.decay_steps:
        return None
    return (
        f"train.steps was {before} up to step {step} and is {now} now: the learning rate jumps to that of the longer "
        f"or shorter decay; set train.steps={before} to go on as before, or optimizer.decay_steps={max(1, now - step)} "
        "for a decay that begins here"
    )


def batch_size_at(step: int, train: TrainConfig) -> int:
    """Rows of one step's global batch; it grows linearly, rounded down, over the first `batch_growth_steps`."""
    assert step >= 1
    first, last, growth = train.first_global_batch_size, train.global_batch_size, train.batch_growth_steps
    return last if step > growth else first + (last - first) * (step - 1) // growth


def batch_sizes(step: int, train: TrainConfig) -> Iterator[int]:
    """Rows of each step after `step`, up to `train.steps`."""
    return (batch_size_at(number, train) for number in range(step + 1, train.steps + 1))


def rows_of_all_steps(train: TrainConfig) -> int:
    """Rows that a whole training takes."""
    growing = min(train.batch_growth_steps, train.steps)
    return (train.steps - growing) * train.global_batch_size + sum(
        batch_size_at(step, train) for step in range(1, growing + 1)
    )
