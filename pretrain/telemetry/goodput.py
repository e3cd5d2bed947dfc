"""Goodput: the share of a run's wall time that was spent in steps that count, and what the rest was lost to.

Rank 0 keeps the account in metrics.jsonl, cumulatively, so that a reader needs the last record only, and a start
continues the account of the record that it resumes from. Imports no torch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WALL, CLOCK = "wall_s", "clock"  # seconds since the run's first start began; seconds since 1970
LOST = "lost_"
CAUSES = {
    "starts": "starting",  # from the beginning of a start to its first step
    "saves": "saving",  # as far as it held up training
    "evaluations": "evaluating",
    "skipped": "skipped steps",
    "repeated": "repeated steps",  # recorded after the checkpoint that a start resumed from
    "down": "no start running",  # between two starts, with steps that were not recorded
}


class Account:
    """The account of one start: what it adds to that of the record that it resumes from."""

    def __init__(self, resumed: Mapping[str, Any], last_clock: float | None, began: float) -> None:
        """Continue the account of `resumed`, whose missing values are taken for those of a run without losses.

        `last_clock`: when the last step before was recorded, counted or not; `began`: when this start began.
        """
        clock = float(resumed.get(CLOCK) or last_clock or began)
        last_clock = max(clock, last_clock or clock)
        began = max(began, last_clock)
        self._lost = {cause: float(resumed.get(_key(cause)) or 0.0) for cause in CAUSES}
        self._lost["repeated"] += last_clock - clock
        self._lost["down"] += began - last_clock
        self._time_s = float(resumed.get("time_s") or 0.0)
        self._zero = clock - float(resumed.get(WALL) or self._time_s)
        self._began: float | None = began  # None after the first step

    def add(self, cause: str, seconds: float) -> None:
        """Add lost time."""
        self._lost[cause] += seconds
        if self._began is not None:
            self._began += seconds  # before the first step, but not for the start itself

    def step(self, time_s: float, save_s: float | None, *, skipped: bool, now: float | None = None) -> dict[str, float]:
        """Account for one step, and return the account as values of its record. `time_s` is that of all steps."""
        now = time.time() if now is None else now
        step_s, self._time_s = time_s - self._time_s, time_s
        self._lost["saves"] += save_s or 0.0
        if skipped:
            self._lost["skipped"] += step_s
        if self._began is not None:
            known_s = step_s + (save_s or 0.0)
            self._lost["starts"] += max(0.0, now - self._began - known_s)
            self._began = None
        lost = {_key(cause): round(seconds, 3) for cause, seconds in self._lost.items()}
        return {CLOCK: round(now, 3), WALL: round(now - self._zero, 3)} | lost


def goodput_share(record: Mapping[str, Any]) -> float | None:
    """Return the share of the wall time in steps that count, up to this record; None if it has no account."""
    wall_s, time_s = record.get(WALL), record.get("time_s")
    if not wall_s or time_s is None:
        return None
    counted_s = float(time_s) - float(record.get(_key("skipped")) or 0.0)
    return min(1.0, max(0.0, counted_s / float(wall_s)))


def losses(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the share of the wall time that each cause took, the largest first; causes below 0.1 % are left out."""
    wall_s = record.get(WALL)
    if not wall_s:
        return {}
    shares = {text: (record.get(_key(cause)) or 0.0) / wall_s for cause, text in CAUSES.items()}
    return {text: share for text, share in sorted(shares.items(), key=lambda one: -one[1]) if share >= 0.001}


def goodput_text(record: Mapping[str, Any]) -> str:
    """Return goodput and losses as text; empty if the record has no account."""
    share = goodput_share(record)
    if share is None:
        return ""
    lost = losses_text(record)
    return f"{share:.1%}" + (f" ({lost})" if lost else "")


def losses_text(record: Mapping[str, Any]) -> str:
    """Return the losses as text; empty if there are none."""
    lost = ", ".join(f"{cause} {share:.1%}" for cause, share in losses(record).items())
    return f"lost: {lost}" if lost else ""


def process_began() -> float:
    """Return when this process began, in seconds since 1970."""
    ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    since_boot_s = float(Path("/proc/uptime").read_text().split()[0])
    return time.time() - (since_boot_s - ticks / os.sysconf("SC_CLK_TCK"))


def _key(cause: str) -> str:
    return f"{LOST}{cause}_s"
