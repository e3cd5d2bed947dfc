"""The running mean and deviation of the loss, and spikes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pretrain.engine.spikes import FIRST_STEPS, WINDOW_STEPS, RunningLoss


def after(losses: list[float]) -> RunningLoss:
    running = RunningLoss()
    for loss in losses:
        running = running.after(loss)
    return running


@pytest.fixture(scope="module")
def losses() -> list[float]:
    draws: list[float] = np.random.default_rng(0).normal(6.0, 0.1, WINDOW_STEPS).tolist()
    return draws


def test_the_first_window_is_plain_mean_and_variance(losses: list[float]) -> None:
    running = after(losses)
    assert running.mean == pytest.approx(np.mean(losses), rel=1e-12)
    assert running.variance == pytest.approx(np.var(losses), rel=1e-9)


def test_old_losses_decay_exponentially(losses: list[float]) -> None:
    running = after([100.0] * 50 + losses * 20)
    assert running.mean == pytest.approx(6.0, abs=0.05)
    assert math.sqrt(running.variance) == pytest.approx(0.1, rel=0.3)


def test_spike_threshold_is_six_deviations(losses: list[float]) -> None:
    running = after(losses)
    deviation = math.sqrt(running.variance)
    assert running.is_spike(running.mean + 6.01 * deviation)
    assert not running.is_spike(running.mean + 5.99 * deviation)
    assert not running.is_spike(running.mean - 10 * deviation)


def test_no_spike_in_the_first_steps(losses: list[float]) -> None:
    assert not after(losses[: FIRST_STEPS - 1]).is_spike(1e9)
    assert after(losses[:FIRST_STEPS]).is_spike(1e9)
    assert not after([6.0] * 50).is_spike(6.1)  # no deviation at all: nothing to measure by


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_losses_that_are_not_finite_are_no_spikes(losses: list[float], loss: float) -> None:
    running = after(losses)
    assert not running.is_spike(loss)
    assert running.after(loss) == running


def test_json_round_trip_is_bit_exact(losses: list[float]) -> None:
    running = after(losses)
    assert RunningLoss.model_validate_json(running.model_dump_json()) == running
