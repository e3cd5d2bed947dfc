"""Plot the loss of runs and the unigram baseline in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotext

from launch.display.curves import read_curves
from pretrain.telemetry import smooth

POINTS = 80


def draw_loss(runs: Sequence[Path]) -> str:
    """Return a text plot of each run's masked-LM loss over its steps, with the held-out loss and the baseline."""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(100, 20)
    for name, records in read_curves(runs).items():
        plotext.plot(*smooth(records, "mlm_loss", POINTS), label=f"{name}: masked-LM loss")
        valid = [record for record in records if "valid_mlm_loss" in record]
        if valid:
            held_out = [record["valid_mlm_loss"] for record in valid]
            plotext.scatter([record["step"] for record in valid], held_out, label="held-out", marker="o")
            plotext.horizontal_line(valid[-1]["valid_unigram_loss"])
            plotext.title(f"horizontal line: unigram baseline {valid[-1]['valid_unigram_loss']:.2f}")
    plotext.xlabel("step")
    return str(plotext.uncolorize(plotext.build()))
