"""When to save by time: the interval between saves that loses the least time (Young 1974, Daly 2006). Imports no torch.

More saves cost more time, and fewer saves lose more steps when a start fails. For a save that holds up training for
`save_s` and failures every `mtbf_s` on average, the best interval is about sqrt(2 * save_s * mtbf_s).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from configs.schema import CheckpointConfig

DAY_S = 86_400.0
FIRST_SAVE_S = 1.0  # assumed until a save was measured
SHORTEST_S = 60.0


class Cadence:
    """Whether it is time to save. Rank 0's answer counts for all ranks."""

    def __init__(self, config: CheckpointConfig, ranks: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._mtbf_s = mtbf_s(ranks, config.failures_per_gpu_day)
        self._save_s, self._write_s = FIRST_SAVE_S, 0.0
        self._began = clock()

    @property
    def interval_s(self) -> float:
        """Seconds between two saves; infinite if only steps matter. Never so short that one save begins in another."""
        minutes = self._config.every_minutes
        if minutes != "auto":
            return 60 * minutes if minutes else math.inf
        return max(best_interval_s(self._save_s, self._mtbf_s), 2 * self._write_s, SHORTEST_S)

    def is_due(self) -> bool:
        """Return whether the interval since the last save has passed."""
        return self._clock() - self._began >= self.interval_s

    def save_begins(self) -> None:
        """Note that a save begins."""
        self._began = self._clock()

    def save_ended(self, save_s: float) -> None:
        """Note that the save is complete, and that it held up training for `save_s` seconds."""
        self._save_s, self._write_s = max(save_s, 1e-3), self._clock() - self._began


@dataclass(frozen=True)
class Goodput:
    """The predicted share of the time in steps that count, and the shares lost by cause."""

    interval_s: float
    share: float
    losses: dict[str, float]


def mtbf_s(ranks: int, failures_per_gpu_day: float) -> float:
    """Return the mean time between two failures of a training on `ranks` GPUs, in seconds."""
    return DAY_S / (ranks * failures_per_gpu_day)


def best_interval_s(save_s: float, mtbf_s: float) -> float:
    """Return the best time between two saves (Daly 2006, equation 37), in seconds."""
    if save_s >= 2 * mtbf_s:
        return mtbf_s
    ratio = save_s / (2 * mtbf_s)
    return math.sqrt(2 * save_s * mtbf_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - save_s


def predicted_goodput(*, mtbf_s: float, save_s: float, write_s: float, restart_s: float, hang_s: float) -> Goodput:
    """Predict the goodput with the best interval. All arguments are seconds.

    `save_s`: how long a save holds up training; `write_s`: until it is complete; `restart_s`: from a failure to the
    first step of the next start; `hang_s`: how long a failure is unnoticed, on average.
    """
    interval_s = max(best_interval_s(save_s, mtbf_s), 2 * write_s, SHORTEST_S)
    per_counted_s = {
        "saves": save_s / interval_s,
        "repeated steps": (interval_s / 2 + write_s) / mtbf_s,
        "restarts": restart_s / mtbf_s,
        "hangs": hang_s / mtbf_s,
    }
    total = 1 + sum(per_counted_s.values())
    return Goodput(interval_s, 1 / total, {cause: lost / total for cause, lost in per_counted_s.items()})
