"""Which rank holds the others up: each one's own time, compared now and then.

A rank's own time in a step is its wait for rows and its forward passes, in which it waits for no other rank. (At ZeRO
stage 3 it does: there the forward gathers weights, all ranks wait for the slowest, and none stands out.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, median_low
from typing import Any

import torch

from pretrain.engine import gather

SLOW_RATIO = 1.33  # own time over that of the median rank
SLOW_STEPS = 20  # over which it is taken, as their median: one hiccup is not slowness


@dataclass(frozen=True)
class SlowRank:
    """The slowest rank, and its own time over the median rank's."""

    rank: int
    ratio: float


class Stragglers:
    """One rank's own times. On a GPU they are taken by events, for which the host does not wait."""

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._mark: Callable[[], Any] = _record if on_gpu else time.perf_counter
        self._seconds: Callable[[Any, Any], float] = _elapsed_s if on_gpu else _difference
        self._spans: list[tuple[Any, Any]] = []  # of the present step
        self._steps: list[tuple[float, list[tuple[Any, Any]]]] = []  # data wait and spans of the last ones

    @contextmanager
    def own_time(self) -> Iterator[None]:
        """What happens inside is this rank's own."""
        began = self._mark()
        yield
        self._spans.append((began, self._mark()))

    def step_ended(self, data_wait_s: float) -> SlowRank | None:
        """Every `SLOW_STEPS` calls the ranks meet, and learn of one that is too slow. Every rank calls it."""
        self._steps.append((data_wait_s, self._spans))
        self._spans = []
        if len(self._steps) < SLOW_STEPS:
            return None
        own_s = median(wait_s + sum(self._seconds(*span) for span in spans) for wait_s, spans in self._steps)
        self._steps = []
        return slowest(gather(own_s))


def slowest(own_s: list[float]) -> SlowRank | None:
    """The slowest of all ranks, if it is too slow. Of two ranks the faster one is the median."""
    rank = max(range(len(own_s)), key=own_s.__getitem__)
    ratio = own_s[rank] / max(median_low(own_s), 1e-9)
    return SlowRank(rank, ratio) if ratio > SLOW_RATIO else None


def _difference(began: float, ended: float) -> float:
    return ended - began


def _record() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's own
    event.record()
    return event


def _elapsed_s(began: torch.cuda.Event, ended: torch.cuda.Event) -> float:
    ended.synchronize()  # long over: the step has ended
    return float(began.elapsed_time(ended)) / 1000
