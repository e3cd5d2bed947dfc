"""Plots of runs, in the terminal and as a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from launch.display.curves import draw_runs, read_curves
from launch.display.plot import draw_loss
from pretrain.telemetry import Axis, smooth
from pretrain.telemetry.curves import running_mean


def make_run(folder: Path, steps: int) -> Path:
    folder.mkdir(parents=True)
    write_recipe(load_recipe("demo"), folder / "recipe.toml")
    with (folder / "metrics.jsonl").open("w") as metrics:
        for step in range(1, steps + 1):
            record: dict[str, float | None] = {"step": step, "mlm_loss": 7 - step / 100, "mlm_accuracy": step / 1000}
            record |= {"nsp_accuracy": 0.5, "grad_norm": None if step == 3 else 1.0, "tokens_per_s": 1000.0}
            record |= {"learning_rate": 1e-3}
            if step == steps:
                record |= {"valid_mlm_loss": 6.5, "valid_mlm_accuracy": 0.1, "valid_unigram_loss": 6.75}
            metrics.write(json.dumps(record) + "\n")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [make_run(tmp_path / "first", 100), make_run(tmp_path / "$(second) [x]", 50)]


def test_the_terminal_shows_every_run_and_the_baseline(runs: list[Path]) -> None:
    shown = draw_loss(runs)
    assert "first: masked-LM loss" in shown
    assert "$(second) [x]: masked-LM loss" in shown
    assert "unigram baseline 6.75" in shown


def test_the_picture_is_a_png_with_all_runs(runs: list[Path], tmp_path: Path) -> None:
    draw_runs(runs[:1], tmp_path / "one.png")
    draw_runs(runs, tmp_path / "two.png")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one.startswith(b"\x89PNG")
    assert two.startswith(b"\x89PNG")
    assert len(two) > len(one)


def test_runs_of_different_objectives_share_a_picture(tmp_path: Path) -> None:
    """One run has no next-sentence accuracy, and each data set has its own unigram loss."""
    runs = [make_run(tmp_path / name, 20) for name in ("reference", "masked")]
    metrics = runs[1] / "metrics.jsonl"
    alone = metrics.read_text().replace('"nsp_accuracy": 0.5', '"nsp_accuracy": null').replace("6.75", "6.25")
    metrics.write_text(alone)
    draw_runs(runs, tmp_path / "runs.svg")
    drawn = (tmp_path / "runs.svg").read_text()
    assert [drawn.count(f"<!-- {text} -->") for text in ("unigram 6.25", "unigram 6.75")] == [1, 1]
    (axes,) = re.findall(r'<g id="axes_3">(.*?)<g id="axes_4">', drawn, re.DOTALL)
    assert "<!-- next-sentence accuracy -->" in axes
    assert axes.count("#1f77b4") == 1  # a curve for the one run that has it
    assert "#ff7f0e" not in axes


def figure_of(monkeypatch: pytest.MonkeyPatch, runs: list[Path], picture: Path, x: Axis = "step") -> Figure:
    """Draw the runs, and return the figure that was saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def note(figure: Figure, *arguments: Any, **settings: Any) -> None:
        saved.append(figure)
        save(figure, *arguments, **settings)

    monkeypatch.setattr(Figure, "savefig", note)
    draw_runs(runs, picture, x)
    return saved[0]


def heights(line: Line2D) -> list[float]:
    return [float(height) for height in np.asarray(line.get_ydata())]


def test_every_panel_has_its_data_units_and_nothing_that_covers_it(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = figure_of(monkeypatch, runs, tmp_path / "runs.png")
    assert len(figure.axes) == 6
    for axes in figure.axes:
        assert axes.get_xlabel() == "step"
        assert axes.get_ylabel()
        assert axes.get_legend() is None  # the legend is outside
        for number in range(len(runs)):
            of_run = [line for line in axes.lines if line.get_color() == f"C{number}"]
            assert any(len(heights(line)) > 1 for line in of_run)
    loss = figure.axes[0]
    raw, smoothed, held_out = (line for line in loss.lines if line.get_color() == "C0")
    assert (len(heights(raw)), len(heights(smoothed))) == (100, 100)  # single steps behind their means
    assert heights(raw)[50] == pytest.approx(7 - 51 / 100)
    assert heights(smoothed)[50] == pytest.approx(7 - 51 / 100)
    assert heights(smoothed)[0] == pytest.approx(sum(heights(raw)[:3]) / 3)
    assert (raw.get_alpha(), heights(held_out)) == (0.3, [6.5])
    markers = {line.get_marker() for line in loss.lines if line.get_linestyle() == "None"}
    assert markers == {"o", "s"}  # the runs differ in more than colour
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"{name}: {kind}" for name in ("first", "$(second) [x]") for kind in ("training", "held out")] + [
        "unigram 6.75",
        "chance 0.50",
    ]
    assert [line.get_linestyle() for line in figure.axes[2].lines if heights(line) == [0.5, 0.5]] == [":"]


def test_a_panel_without_data_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "masked", 20)
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text.replace('"nsp_accuracy": 0.5', '"nsp_accuracy": null'))
    titles = [axes.get_title() for axes in figure_of(monkeypatch, [run], tmp_path / "runs.png").axes]
    assert len(titles) == 5
    assert "next-sentence accuracy" not in titles


@pytest.mark.parametrize(
    ("x", "label", "last"),
    [
        ("tokens", "tokens trained (millions)", 0.1),
        ("time", "training time (minutes)", 5.0),
        ("samples", "rows trained", 800),
    ],
)
def test_runs_are_plotted_over_other_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, x: Axis, label: str, last: float
) -> None:
    run = make_run(tmp_path / "run", 100)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    progress = [{"tokens": 1000 * n, "time_s": 3.0 * n, "samples": 8 * n} for n in range(1, 101)]
    lines = [json.dumps(record | at) + "\n" for record, at in zip(records, progress, strict=True)]
    (run / "metrics.jsonl").write_text("".join(lines))
    axes = figure_of(monkeypatch, [run], tmp_path / "runs.png", x).axes[0]
    assert axes.get_xlabel() == label
    assert np.asarray(axes.lines[0].get_xdata())[-1] == pytest.approx(last)
    assert label in draw_loss([run], x)


def test_the_running_mean_is_smoother_and_as_long() -> None:
    noisy = [1.0 + (-1) ** place / 2 for place in range(40)]
    smoothed = running_mean(noisy, 9)
    assert len(smoothed) == 40
    assert np.std(smoothed) < 0.3 * np.std(noisy)
    assert running_mean([3.0, 5.0, 1.0], 3) == [4.0, 3.0, 3.0]
    assert running_mean([3.0], 0) == [3.0]


def test_smooth_averages_consecutive_steps() -> None:
    records = [{"step": step, "loss": float(step)} for step in range(1, 8)]
    assert smooth(records, "loss", 3) == ([3, 6, 7], [2.0, 5.0, 7.0])
    assert smooth([{"step": 1, "loss": None}, {"step": 2, "loss": 4.0}, {"step": 3}], "loss", 3) == ([2], [4.0])
    assert smooth(records, "nothing", 3) == ([], [])


def test_runs_of_the_same_name_are_keyed_by_path(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / part / "demo", 2) for part in ("a", "b")]
    assert list(read_curves(runs)) == [str(run) for run in runs]


def test_plotting_errors_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run"):
        draw_loss([tmp_path])
    with pytest.raises(UserError, match="has recorded no steps yet"):
        draw_runs([make_run(tmp_path / "new", 0)], tmp_path / "new.png")
    with pytest.raises(UserError, match="none"):
        draw_runs([make_run(tmp_path / "run", 2)], tmp_path / "none" / "curves.png")


def test_of_several_runs_those_without_a_loss_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, new, diverged = (make_run(tmp_path / name, steps) for name, steps in (("run", 3), ("new", 0), ("nan", 1)))
    metrics = diverged / "metrics.jsonl"
    metrics.write_text(re.sub(r'"mlm_loss": [^,}]*', '"mlm_loss": null', metrics.read_text()))
    shown = draw_loss([new, run, diverged])
    assert "run: masked-LM loss" in shown
    assert "new" not in shown
    assert [record.getMessage() for record in caplog.records] == [
        f"{new} is left out: it has recorded no steps yet",
        "nan is left out: it has recorded no finite loss",
    ]
    with pytest.raises(UserError, match="no finite loss"):
        draw_loss([new, diverged])
    with pytest.raises(UserError, match="no steps yet"):
        draw_loss([new, new])


def test_a_run_whose_records_are_all_damaged_is_not_a_new_one(
    runs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = make_run(tmp_path / "damaged", 3)
    (damaged / "metrics.jsonl").write_text((damaged / "metrics.jsonl").read_text().replace("{", "["))
    with pytest.raises(UserError, match="all its records are damaged") as refused:
        draw_loss([damaged])
    assert refused.value.place == str(damaged / "metrics.jsonl")
    assert list(read_curves([damaged, *runs[:1]])) == ["first"]
    assert caplog.records[-1].getMessage() == f"{damaged} is left out: all its records are damaged"


def test_a_damaged_recipe_hides_no_curve(runs: list[Path]) -> None:
    (runs[0] / "recipe.toml").write_text("")
    assert len(read_curves(runs)["first"]) == 100
