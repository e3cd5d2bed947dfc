"""Plot the loss of runs and the unigram baseline in the terminal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import plotext

from configs.errors import UserError
from launch.display.curves import read_curves
from pretrain.telemetry import AXES, Axis, MetricRecords, smooth

log = logging.getLogger(__name__)

POINTS = 80


def draw_loss(runs: Sequence[Path], x: Axis = "step") -> str:
    """Return a text plot of each run's masked-LM loss over an axis, with the held-out loss and the baseline."""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(100, 20)
    drawn = {name: records for name, records in read_curves(runs).items() if _has_loss(name, records)}
    if not drawn:
        fix = "plot another run; a loss that was not finite is recorded as null"
        raise UserError("no finite loss is recorded", place=str(runs[0]), fix=fix)
    for name, records in drawn.items():
        steps, losses = smooth(records, "mlm_loss", POINTS, x)
        plotext.plot(steps, losses, label=f"{name}: masked-LM loss")
        steps, losses = smooth(records, "valid_mlm_loss", len(records), x)
        if losses:
            plotext.scatter(steps, losses, label="held-out", marker="o")
        _, baselines = smooth(records, "valid_unigram_loss", len(records))
        if baselines:
            plotext.horizontal_line(baselines[-1])
            plotext.title(f"horizontal line: unigram baseline {baselines[-1]:.2f}")
    plotext.xlabel(AXES[x][1])
    return str(plotext.uncolorize(plotext.build()))


def _has_loss(name: str, records: MetricRecords) -> bool:
    """Return whether a finite loss is recorded: plotext fails on an empty line."""
    found = bool(smooth(records, "mlm_loss", POINTS)[1])
    if not found:
        log.warning("%s is left out: it has recorded no finite loss", name)
    return found
