"""Plots of runs, in the terminal and as a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from launch.display.curves import draw_runs, read_curves
from launch.display.plot import draw_loss
from pretrain.telemetry import smooth


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
    assert axes.count("clip-path") == 1  # a curve for the one run that has it


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
