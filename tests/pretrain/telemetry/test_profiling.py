from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import torch

from configs.run_layout import PROFILE
from configs.schema import ModelConfig
from pretrain.engine.distributed import World
from pretrain.telemetry.profiling import Profiler
from pretrain.telemetry.throughput import Throughput
from tests.pretrain.synthetic import write_dataset


def train_some(run: Path, profiler: Profiler) -> None:
    meter = Throughput(ModelConfig(), write_dataset(run / "dataset", [[1]]), World())
    meter.start(0.0)
    for step in range(1, 5):
        with profiler.step(step, meter):
            torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    assert meter.began <= time.perf_counter()


def test_requested_steps_are_traced_in_chrome_format(tmp_path: Path) -> None:
    profiler = Profiler(tmp_path, [2, 4, 9], World())
    train_some(tmp_path, profiler)
    traces = sorted((tmp_path / PROFILE).iterdir())
    assert [trace.name for trace in traces] == [f"step_0000000{step}.pt.trace.json.gz" for step in (2, 4)]
    first, second = profiler.news()
    assert str(traces[0]) in first
    assert str(traces[1]) in second
    assert "https://ui.perfetto.dev" in first
    assert not profiler.news()
    trace = json.loads(gzip.decompress(traces[0].read_bytes()))
    assert any(event.get("name") == "aten::mm" for event in trace["traceEvents"])


def test_other_steps_and_ranks_are_not_traced(tmp_path: Path) -> None:
    train_some(tmp_path / "one", Profiler(tmp_path / "one", [], World()))
    train_some(tmp_path / "two", Profiler(tmp_path / "two", [2], World(rank=1, world_size=2)))
    assert not list(tmp_path.glob(f"*/{PROFILE}"))
