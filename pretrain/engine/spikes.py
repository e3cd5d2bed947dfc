"""Loss spikes: a loss far above what the last steps lead one to expect."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

SIGMAS = 6.0  # above the mean
WINDOW_STEPS = 128  # over which mean and deviation run: older losses fade by 1/128 a step
FIRST_STEPS = 32  # no verdict before


class RunningLoss(BaseModel):
    """Mean and variance of the last losses. In a checkpoint, so that a resumed run judges as one that went on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def is_spike(self, loss: float) -> bool:
        """Whether a loss is more than six deviations above the mean. One that is not finite is another fault."""
        return self.steps >= FIRST_STEPS and math.isfinite(loss) and self.deviations(loss) > SIGMAS

    def deviations(self, loss: float) -> float:
        """By how many standard deviations a loss is above the mean."""
        return (loss - self.mean) / math.sqrt(self.variance) if self.variance > 0 else 0.0

    def after(self, loss: float) -> RunningLoss:
        """With one more loss: the plain mean and variance at first, then fading. One that is not finite counts not."""
        if not math.isfinite(loss):
            return self
        share, distance = 1 / min(self.steps + 1, WINDOW_STEPS), loss - self.mean
        variance = (1 - share) * (self.variance + share * distance**2)
        return RunningLoss(steps=self.steps + 1, mean=self.mean + share * distance, variance=variance)
