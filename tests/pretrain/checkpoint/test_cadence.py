"""When to save by time, and the goodput that follows."""

from __future__ import annotations

import math

import pytest

from configs.schema import CheckpointConfig
from pretrain.checkpoint.cadence import Cadence, best_interval_s, mtbf_s, predicted_goodput

LLAMA_3 = 4.74e-4  # failures per GPU and day


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_best_interval_loses_least() -> None:
    save_s, between_s = 20.0, 40_000.0

    def lost(interval_s: float) -> float:
        return save_s / interval_s + interval_s / 2 / between_s

    best = best_interval_s(save_s, between_s)
    assert best == pytest.approx(math.sqrt(2 * save_s * between_s), rel=0.02)
    assert lost(best) < min(lost(best / 1.3), lost(best * 1.3))
    assert best_interval_s(100.0, 40.0) == 40.0  # saving takes longer than a start lives


def test_failures_of_512_gpus_are_four_days_apart() -> None:
    assert mtbf_s(512, LLAMA_3) / 86_400 == pytest.approx(4.12, abs=0.01)
    assert 86_400 / mtbf_s(4_096, LLAMA_3) == pytest.approx(1.94, abs=0.01)


def test_steps_alone_decide_without_every_minutes() -> None:
    clock = Clock()
    cadence = Cadence(CheckpointConfig(), 8, clock)
    clock.now = 1e9
    assert not cadence.is_due()


def test_a_fixed_interval() -> None:
    clock = Clock()
    cadence = Cadence(CheckpointConfig(every_minutes=2.0), 8, clock)
    clock.now = 119.0
    assert not cadence.is_due()
    clock.now = 120.0
    assert cadence.is_due()
    cadence.save_begins()
    assert not cadence.is_due()


def test_auto_follows_the_measured_save() -> None:
    clock = Clock()
    cadence = Cadence(CheckpointConfig(every_minutes="auto"), 512, clock)
    first = cadence.interval_s
    cadence.save_begins()
    clock.now += 30
    cadence.save_ended(4.0)
    assert cadence.interval_s == pytest.approx(2 * first, rel=0.02)  # it grows with the root of the time of a save
    cadence.save_begins()
    clock.now += 10_000
    cadence.save_ended(0.01)
    assert cadence.interval_s == 20_000  # one save never begins in another


@pytest.mark.parametrize(("gpus", "least"), [(64, 0.995), (512, 0.995), (4_096, 0.990)])
def test_predicted_goodput(gpus: int, least: float) -> None:
    predicted = predicted_goodput(
        mtbf_s=mtbf_s(gpus, LLAMA_3), save_s=0.1, write_s=4.7, restart_s=180.0, hang_s=0.1 * 600.0
    )
    assert predicted.share >= least
    assert predicted.share + sum(predicted.losses.values()) == pytest.approx(1.0)
