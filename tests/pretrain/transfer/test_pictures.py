"""The pictures of transfer results: their data is there, layers are integers, and legends lie outside the plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pretrain.transfer.pictures import draw_learning_curve, draw_senses, draw_worth
from pretrain.transfer.senses import Separation
from pretrain.transfer.trials import Spread
from tests.pretrain.transfer.test_task_report import worth


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved during the test."""
    figures: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, *arguments: Any, **settings: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", note)
    return figures


def labels(figure: Figure) -> list[str]:
    assert all(axes.get_legend() is None for axes in figure.axes)
    return [text.get_text() for text in figure.legends[0].get_texts()]


def assert_layers_are_integers(axes: Any) -> None:
    assert axes.get_xlabel() == "layer"
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_the_worth_has_bars_and_a_probe_of_each_layer(tmp_path: Path, saved: list[Figure]) -> None:
    draw_worth(tmp_path / "worth.png", [worth([0.8, 0.9], [0.5, 0.5])])
    bars, probes = saved[0].axes
    assert [round(bar.get_height(), 3) for bar in bars.patches] == [0.85, 0.5]  # type: ignore[attr-defined]
    assert [np.asarray(line.get_ydata()).tolist() for line in probes.lines[:1]] == [[0.5, 0.75]]
    assert_layers_are_integers(probes)
    assert sorted(set(labels(saved[0]))) == sorted(labels(saved[0]))  # each name once
    assert "learned mix" in labels(saved[0])


def test_the_senses_are_told_apart_by_marker_too(tmp_path: Path, saved: list[Figure]) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32)
    draw_senses(tmp_path / "a.png", "bank", vectors, ["river", "money"] * 4, [Separation(0.1, 0.5)] * 3)
    *scatters, curve = saved[0].axes
    assert len(scatters) == 3
    for axes in scatters:
        river, money = axes.collections
        assert (len(np.asarray(river.get_offsets())), len(np.asarray(money.get_offsets()))) == (4, 4)
        assert not np.array_equal(river.get_paths()[0].vertices, money.get_paths()[0].vertices)
    assert_layers_are_integers(curve)
    assert labels(saved[0]) == ["river", "money", "silhouette", "nearest-centroid accuracy"]


def test_a_learning_curve_has_a_line_and_a_marker_per_start(tmp_path: Path, saved: list[Figure]) -> None:
    points = [(10, Spread(0.55, 0.1)), (100, Spread(0.75, 0.1))]
    draw_learning_curve(tmp_path / "a.png", "accuracy", {"pretrained": points, "random": points})
    (axes,) = saved[0].axes
    drawn = [container.lines[0] for container in axes.containers]  # type: ignore[attr-defined]
    assert [np.asarray(line.get_ydata()).tolist() for line in drawn] == [[pytest.approx(0.55), pytest.approx(0.75)]] * 2
    assert len({line.get_marker() for line in drawn}) == 2
    assert labels(saved[0]) == ["pretrained", "random"]
