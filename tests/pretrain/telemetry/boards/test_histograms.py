"""Histograms of an engine in one process; tests/distributed/test_histograms.py compares those of two ranks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pretrain.engine.distributed import World
from pretrain.telemetry.boards.histograms import LIMITS, Histogram, Histograms
from pretrain.telemetry.boards.tensorboard_files import TensorBoardFiles
from tests.distributed import small


def histograms_of(world: World, stage: int, precision: str, step: int, every: int) -> dict[str, Histogram]:
    engine = small.engine_of(world, stage, precision)
    histograms = Histograms(engine, every)
    histograms.begin(step)
    small.train_step(engine, step)
    return histograms.of_step()


def test_only_due_steps_have_histograms(alone: World) -> None:
    assert not histograms_of(alone, 0, "fp32", step=3, every=0)
    assert not histograms_of(alone, 0, "fp32", step=3, every=2)
    names = {name for name, _ in small.build().named_parameters()}
    found = histograms_of(alone, 0, "fp32", step=4, every=2)
    assert found.keys() == {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (0, "bf16"), (1, "fp32"), (1, "bf16"), (2, "bf16")])
def test_weights_are_those_after_the_step_and_gradients_those_of_the_update(
    alone: World, stage: int, precision: str
) -> None:
    engine = small.engine_of(alone, stage, precision)
    histograms = Histograms(engine, 1)
    gradients: dict[str, list[float]] = {}
    histograms.begin(1)
    count = engine.read_gradient
    assert count

    def noting(name: str, values: torch.Tensor) -> None:
        gradients[name] = values.tolist()
        count(name, values)

    engine.read_gradient = noting
    _, result = small.train_step(engine, 1)
    found = histograms.of_step()
    assert vars(engine)["read_gradient"] is None
    norm = math.sqrt(sum(each.squares for tag, each in found.items() if tag.startswith("gradients/")))
    assert norm == pytest.approx(min(1.0, result.grad_norm), rel=1e-2)  # clipped at 1
    for fragment in engine.partition.fragments:
        check(found[f"weights/{fragment.name}"], fragment.master.tolist())
        check(found[f"gradients/{fragment.name}"], gradients[fragment.name])


def check(histogram: Histogram, values: list[float]) -> None:
    assert (histogram.least, histogram.greatest, histogram.count) == (min(values), max(values), len(values))
    assert histogram.total == pytest.approx(sum(values), abs=1e-5)
    edges = np.array([-math.inf, *LIMITS[:-1], math.inf], dtype=np.float32)
    expected = np.bincount(np.searchsorted(edges[1:], np.array(values, dtype=np.float32)), minlength=len(LIMITS))
    first = LIMITS.index(histogram.limits[0])
    assert expected[first : first + len(histogram.counts)].tolist() == histogram.counts
    assert sum(histogram.counts) == len(values)


def test_a_skipped_step_has_no_gradients(alone: World) -> None:
    engine = small.engine_of(alone, 0, "fp32")
    histograms = Histograms(engine, 1)
    histograms.begin(1)
    small.train_step(engine, 1, skip=True)
    assert {tag.partition("/")[0] for tag in histograms.of_step()} == {"weights"}


def test_values_that_are_not_finite_are_left_out(alone: World) -> None:
    engine = small.engine_of(alone, 0, "fp32")
    histograms = Histograms(engine, 1)
    histograms.begin(1)
    small.train_step(engine, 1)
    engine.partition.fragments[0].master[0] = math.nan
    engine.partition.fragments[1].master[0] = math.inf
    names = [fragment.name for fragment in engine.partition.fragments]
    shown = {tag.partition("/")[2] for tag in histograms.of_step() if tag.startswith("weights/")}
    assert shown == set(names[2:])


def test_tensorboard_reads_what_was_counted(alone: World, tmp_path: Path) -> None:
    found = histograms_of(alone, 0, "fp32", step=1, every=1)
    board = TensorBoardFiles(tmp_path, purge_step=1)
    for tag, histogram in found.items():
        board.histogram(tag, histogram, 1)
    board.close()
    read = EventAccumulator(str(tmp_path)).Reload()
    assert set(read.Tags()["histograms"]) == found.keys()
    for tag, histogram in found.items():
        (event,) = read.Histograms(tag)
        value = event.histogram_value
        assert (event.step, value.min, value.max, value.num) == (
            1, histogram.least, histogram.greatest, histogram.count
        )  # fmt: skip
        assert (list(value.bucket_limit), list(value.bucket)) == (histogram.limits, histogram.counts)
