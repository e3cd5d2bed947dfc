"""A run's loss curve, drawn in the terminal beside the unigram baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotext

from configs.errors import UserError
from pretrain.metrics import read_metrics

POINTS = 80


def draw_loss(runs: Sequence[Path]) -> str:
    """The masked-LM loss of each run over its steps, with the held-out loss and baseline, as terminal text."""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(100, 20)
    for run in runs:
        records = read_metrics(run)
        if not records:
            raise UserError("no steps recorded yet", place=str(run), mend="start it with `bertrain train`")
        steps, losses = smooth([record["step"] for record in records], [record["mlm_loss"] for record in records])
        plotext.plot(steps, losses, label=f"{run.name}: masked-LM loss")
        valid = [record for record in records if "valid_mlm_loss" in record]
        if valid:
            held_out = [record["valid_mlm_loss"] for record in valid]
            plotext.scatter([record["step"] for record in valid], held_out, label="held-out", marker="o")
            plotext.horizontal_line(valid[-1]["valid_unigram_loss"])
            plotext.title(f"horizontal line: unigram baseline {valid[-1]['valid_unigram_loss']:.2f}")
    plotext.xlabel("step")
    return str(plotext.uncolorize(plotext.build()))


def smooth(steps: Sequence[float], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means over consecutive steps, at most `POINTS` of them."""
    size = -(-len(steps) // POINTS)
    starts = range(0, len(steps), size)
    return (
        [steps[start : start + size][-1] for start in starts],
        [sum(losses[start : start + size]) / len(losses[start : start + size]) for start in starts],
    )
