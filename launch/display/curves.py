"""Read the metrics of runs, and plot them to a file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.run_layout import METRICS
from launch.ranks import check_is_run
from pretrain.telemetry import Axis, MetricRecords, draw_curves, read_metrics, tail_of_metrics

log = logging.getLogger(__name__)

DAMAGED = "all its records are damaged"


def draw_runs(runs: Sequence[Path], picture: Path, x: Axis = "step") -> None:
    """Write a plot of the runs' metrics to `picture`. Raise `UserError` for a run without recorded steps."""
    curves = read_curves(runs)
    with explain_write_errors(picture):
        draw_curves(picture, curves, x=x)


def read_curves(runs: Sequence[Path]) -> dict[str, MetricRecords]:
    """Return the records of each run, keyed by its name, or by its path if several runs have that name.

    Of several runs, those without a readable step are left out, with a warning. Raises `UserError` if none is left.
    """
    names = [run.name for run in runs]
    curves: dict[str, MetricRecords] = {}
    for run in runs:
        check_is_run(run)
        records = read_metrics(run)
        if records:
            curves[run.name if names.count(run.name) == 1 else str(run)] = records
        elif len(runs) > 1:
            log.warning("%s is left out: %s", run, DAMAGED if _is_damaged(run) else "it has recorded no steps yet")
    if not curves:
        raise _why_empty(runs[0])
    return curves


def _why_empty(run: Path) -> UserError:
    """Return the error for a run without a readable step."""
    if _is_damaged(run):
        fix = f"restore the file from a copy, or train more steps and plot those: `bertrain train {run} train.steps=N`"
        return UserError(DAMAGED, place=str(run / METRICS), fix=fix)
    return UserError("the run has recorded no steps yet", place=str(run), fix=f"start it with `bertrain train {run}`")


def _is_damaged(run: Path) -> bool:
    """Return whether a run without a readable step has recorded some."""
    return bool(tail_of_metrics(run).left_out)
