"""Find a rank that delays the others: compare the ranks' own times every few steps.

A rank's own time in a step is its wait for rows plus its forward passes, in which it does not wait for other ranks. At
ZeRO stage 3 it does: the forward gathers weights, and all ranks wait for the slowest one. There, the time of the
forward passes is scaled by a probe, the same matrix products on every rank, relative to the median rank's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, median_low
from typing import Any

import torch

from pretrain.engine import gather

SLOW_RATIO = 1.33  # own time divided by the median rank's own time
PROBE_SIZE, PROBES = {"cuda": 4096, "cpu": 384}, 5  # rows and columns of the probe's products; the median counts
SLOW_STEPS = 20  # compare the median own time of this many steps, so that a single delay does not count


@dataclass(frozen=True)
class SlowRank:
    """The slowest rank, and the ratio of its own time to the median rank's."""

    rank: int
    ratio: float


class Stragglers:
    """Measures one rank's own times. On a GPU it uses events, so that the host does not wait."""

    def __init__(self, device: torch.device, zero_stage: int = 0) -> None:
        self._device, self._gathers = device, zero_stage == 3
        on_gpu = device.type == "cuda"
        self._mark: Callable[[], Any] = _record if on_gpu else time.perf_counter
        self._seconds: Callable[[Any, Any], float] = _elapsed_s if on_gpu else _difference
        self._spans: list[tuple[Any, Any]] = []  # of the current step
        self._steps: list[tuple[float, list[tuple[Any, Any]]]] = []  # data wait and spans of the last steps

    @contextmanager
    def own_time(self) -> Iterator[None]:
        """Count the time of the block as this rank's own."""
        began = self._mark()
        yield
        self._spans.append((began, self._mark()))

    def step_ended(self, data_wait_s: float) -> SlowRank | None:
        """Compare the ranks every `SLOW_STEPS` calls; return a rank that is too slow. Every rank calls it."""
        self._steps.append((data_wait_s, self._spans))
        self._spans = []
        if len(self._steps) < SLOW_STEPS:
            return None
        steps = [(wait_s, sum(self._seconds(*span) for span in spans)) for wait_s, spans in self._steps]
        self._steps = []
        if not self._gathers:
            return slowest(gather(median(wait_s + forward_s for wait_s, forward_s in steps)))
        wait_s, forward_s = (median(column) for column in zip(*steps, strict=True))
        return slowest(scaled_by_probe(gather((wait_s, forward_s, self._probe_s()))))

    def _probe_s(self) -> float:
        """Return the seconds of one matrix product on this rank's device."""
        size = PROBE_SIZE[self._device.type]
        square = torch.ones(size, size, dtype=torch.bfloat16 if self._device.type == "cuda" else None).to(self._device)
        torch.mm(square, square)  # the first one loads its kernel
        spans = []
        for _ in range(PROBES):
            began = self._mark()
            torch.mm(square, square)
            spans.append((began, self._mark()))
        return median(self._seconds(*span) for span in spans)


def scaled_by_probe(times: Sequence[Sequence[float]]) -> list[float]:
    """Return the ranks' own times from their (wait, forward, probe) seconds."""
    usual_s = max(median_low(probe_s for _, _, probe_s in times), 1e-9)
    return [wait_s + forward_s * probe_s / usual_s for wait_s, forward_s, probe_s in times]


def slowest(own_s: list[float]) -> SlowRank | None:
    """Return the slowest rank if it is too slow. Of two ranks, the faster one counts as the median."""
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
    ended.synchronize()  # returns at once: the step has ended
    return float(began.elapsed_time(ended)) / 1000
