"""Detect loss spikes: a loss far above the running mean of the last steps."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

SIGMAS = 6.0  # above the mean
WINDOW_STEPS = 128  # of the running mean and deviation: older losses decay by 1/128 per step
FIRST_STEPS = 32  # no spike is reported before


class RunningLoss(BaseModel):
    """Mean and variance of the last losses. Saved in checkpoints, so that a resumed run detects the same spikes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def is_spike(self, loss: float) -> bool:
        """Return whether a loss is over six deviations above the mean. A loss that is not finite is another fault."""
        return self.steps >= FIRST_STEPS and math.isfinite(loss) and self.deviations(loss) > SIGMAS

    def deviations(self, loss: float) -> float:
        """Return the number of standard deviations that a loss is above the mean."""
        return (loss - self.mean) / math.sqrt(self.variance) if self.variance > 0 else 0.0

    def after(self, loss: float) -> RunningLoss:
        """Return the state with one more loss: plain averages at first, then exponential ones.

        A loss that is not finite is ignored.
        """
        if not math.isfinite(loss):
            return self
        share, distance = 1 / min(self.steps + 1, WINDOW_STEPS), loss - self.mean
        variance = (1 - share) * (self.variance + share * distance**2)
        return RunningLoss(steps=self.steps + 1, mean=self.mean + share * distance, variance=variance)
