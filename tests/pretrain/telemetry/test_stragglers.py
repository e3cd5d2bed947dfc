"""Detecting and reporting a slow rank."""

from __future__ import annotations

import time

import pytest
import torch

from pretrain.telemetry.stragglers import SLOW_STEPS, SlowRank, Stragglers, scaled_by_probe, slowest


@pytest.mark.parametrize(
    ("own_s", "expected"),
    [
        ([1.0, 1.0, 1.3, 1.0], None),
        ([1.0, 1.0, 1.5, 1.0], SlowRank(2, 1.5)),
        ([1.0, 2.0], SlowRank(1, 2.0)),
        ([3.0, 1.0, 1.0, 4.0, 1.0], SlowRank(3, 4.0)),
        ([1.0], None),
    ],
)
def test_slowest_rank_is_reported_above_the_slow_ratio(own_s: list[float], expected: SlowRank | None) -> None:
    assert slowest(own_s) == expected


def test_ranks_are_compared_every_twenty_steps_by_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[float] = []

    def gather(own_s: float) -> list[float]:
        met.append(own_s)
        return [own_s, 0.001]

    monkeypatch.setattr("pretrain.telemetry.stragglers.gather", gather)
    pace = Stragglers(torch.device("cpu"))
    for step in range(2 * SLOW_STEPS):
        with pace.own_time():
            time.sleep(0.1 if step == 3 else 0.002)
        slow = pace.step_ended(data_wait_s=0.01 if step >= SLOW_STEPS else 0.0)
        assert (slow is None) == (step % SLOW_STEPS != SLOW_STEPS - 1)
    assert 0.002 <= met[0] < 0.05
    assert met[1] >= 0.012


def test_at_stage_3_the_probe_tells_the_ranks_apart() -> None:
    """All ranks wait for the slow one in the forward: only its own products, or its wait for rows, take longer."""
    assert slowest(scaled_by_probe([[0.0, 2.0, 0.01]] * 3)) is None
    slow = slowest(scaled_by_probe([[0.0, 2.0, 0.01], [0.0, 2.0, 0.02], [0.0, 2.0, 0.01]]))
    assert slow == SlowRank(1, pytest.approx(2.0))  # type: ignore[arg-type]
    late = slowest(scaled_by_probe([[0.0, 2.0, 0.01], [0.0, 2.0, 0.01], [1.0, 2.0, 0.01]]))
    assert late == SlowRank(2, pytest.approx(1.5))  # type: ignore[arg-type]


def test_at_stage_3_ranks_exchange_wait_forward_and_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def gather(own: tuple[float, float, float]) -> list[tuple[float, float, float]]:
        wait_s, forward_s, probe_s = own
        assert wait_s == 0.01
        assert forward_s >= 0.002
        assert probe_s > 0
        return [own, (wait_s, forward_s, 3 * probe_s)]

    monkeypatch.setattr("pretrain.telemetry.stragglers.gather", gather)
    pace = Stragglers(torch.device("cpu"), zero_stage=3)
    for _ in range(SLOW_STEPS):
        with pace.own_time():
            time.sleep(0.002)
        slow = pace.step_ended(data_wait_s=0.01)
    assert slow is not None
    assert slow.rank == 1
