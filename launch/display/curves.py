"""Runs' curves as a picture: loss, accuracy, throughput and learning rate over the steps, all runs in each panel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import explain_write_errors
from launch.ranks import find_run
from pretrain.telemetry import read_metrics

RunRecords = Sequence[dict[str, Any]]

POINTS = 400
# What each panel shows: its name, the records' field, and that of the held-out rows.
PANELS = (
    ("masked-LM loss", "mlm_loss", "valid_mlm_loss"),
    ("masked-LM accuracy", "mlm_accuracy", "valid_mlm_accuracy"),
    ("next-sentence accuracy", "nsp_accuracy", "valid_nsp_accuracy"),
    ("gradient norm", "grad_norm", None),
    ("tokens a second", "tokens_per_s", None),
    ("learning rate", "learning_rate", None),
)


def draw_curves(runs: Sequence[Path], picture: Path) -> None:
    """Draw the runs into a file, PNG or what its name says. `UserError` for one that has no steps yet."""
    from matplotlib.figure import Figure

    curves = read_curves(runs)
    figure = Figure(figsize=(14, 7), layout="constrained")
    for axes, (title, field, held_out) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        for name, records in curves.items():
            (line,) = axes.plot(*smooth(records, field, POINTS), label=name, lw=1.0)
            if held_out:
                axes.plot(*smooth(records, held_out, POINTS), "o", ms=4, color=line.get_color())
        axes.set(title=title, xlabel="step")
    first = figure.axes[0]
    first.plot([], [], "o", ms=4, color="grey", label="held out")
    _draw_baseline(first, curves.values())
    first.legend()
    with explain_write_errors(picture):
        figure.savefig(picture, dpi=120)


def read_curves(runs: Sequence[Path]) -> dict[str, RunRecords]:
    """The records of each run by its name; by its path where two have the same."""
    names = [run.name for run in runs]
    curves: dict[str, RunRecords] = {}
    for run in runs:
        find_run(run)
        records = read_metrics(run)
        if not records:
            raise UserError("no steps recorded yet", place=str(run), fix="start it with `bertrain train`")
        curves[run.name if names.count(run.name) == 1 else str(run)] = records
    return curves


def smooth(records: RunRecords, field: str, points: int) -> tuple[list[float], list[float]]:
    """Steps and values of a field where it has one: means over consecutive ones, at most so many."""
    found = [(record["step"], record[field]) for record in records if record.get(field) is not None]
    size = max(1, -(-len(found) // points))
    spans = [found[start : start + size] for start in range(0, len(found), size)]
    return [span[-1][0] for span in spans], [sum(value for _, value in span) / len(span) for span in spans]


def _draw_baseline(axes: Any, curves: Any) -> None:
    """The unigram loss of the held-out rows, one a data set: what a model without context reaches."""
    found = {record["valid_unigram_loss"] for records in curves for record in records if "valid_mlm_loss" in record}
    for baseline in sorted(found):
        axes.axhline(baseline, color="grey", ls="--", lw=0.8, label=f"unigram {baseline:.2f}")
