"""The cost of a save, with a controlled clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import ModelConfig
from pretrain.engine.distributed import World
from pretrain.telemetry.throughput import Throughput
from tests.pretrain.synthetic import write_dataset


def test_save_is_excluded_from_training_time_and_reported_as_a_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("pretrain.telemetry.throughput.time.perf_counter", lambda: clock[0])
    meter = Throughput(ModelConfig(), write_dataset(tmp_path, [[5]]), World())
    meter.start(time_s=7.0)
    for trained_s, save_s in [(8.0, 2.0), (57.0, 3.0)]:
        began = meter.began
        clock[0] += trained_s
        with meter.save():
            clock[0] += save_s
        assert meter.began == began + save_s
        meter.save_completed()
        assert meter.last_save_s == save_s
        assert meter.save_pct == pytest.approx(100 * save_s / (trained_s + save_s))
    assert meter.save_s == 2.0 + 3.0  # until a step is recorded


def test_a_save_during_an_evaluation_is_excluded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("pretrain.telemetry.throughput.time.perf_counter", lambda: clock[0])
    meter = Throughput(ModelConfig(), write_dataset(tmp_path, [[5]]), World())
    meter.start(time_s=0.0)
    with meter.pause():
        clock[0] += 4.0
        with meter.save():
            clock[0] += 1.0
    assert meter.began == 100.0 + 5.0
