"""How fast a run trains, and how long it still takes, from its records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from configs.schema import TrainConfig


def step_s(records: Sequence[dict[str, Any]]) -> float | None:
    """Return the mean seconds per step over the records, without the first, which can compile; None if too few."""
    timed = [(record["step"], record["time_s"]) for record in records if record.get("time_s") is not None]
    if len(timed) < 2:
        return None
    (first, began_s), (last, ended_s) = timed[0], timed[-1]
    return float((ended_s - began_s) / (last - first))


def left_s(train: TrainConfig, step: int, time_s: float, pace_s: float) -> float:
    """Return the seconds until the last step or the end of the time budget."""
    budget_s = 60 * train.budget_min or math.inf
    return max(0.0, min((train.steps - step) * pace_s, budget_s - time_s))
