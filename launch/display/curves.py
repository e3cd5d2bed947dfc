"""The records of chosen runs, and their curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.files import explain_write_errors
from launch.ranks import find_run
from pretrain.telemetry import MetricRecords, draw_curves, read_metrics


def draw_runs(runs: Sequence[Path], picture: Path) -> None:
    """Draw the runs' curves into a file. `UserError` for a run that has no steps yet."""
    curves = read_curves(runs)
    with explain_write_errors(picture):
        draw_curves(picture, curves)


def read_curves(runs: Sequence[Path]) -> dict[str, MetricRecords]:
    """The records of each run by its name; by its path where two have the same."""
    names = [run.name for run in runs]
    curves: dict[str, MetricRecords] = {}
    for run in runs:
        find_run(run)
        records = read_metrics(run)
        if not records:
            raise UserError("no steps recorded yet", place=str(run), fix="start it with `bertrain train`")
        curves[run.name if names.count(run.name) == 1 else str(run)] = records
    return curves
