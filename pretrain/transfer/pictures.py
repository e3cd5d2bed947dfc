"""Pictures of the second stage, as PNG. All need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pretrain.transfer.trials import Spread
from pretrain.transfer.worth import PRETRAINED, STARTS, Worth

COLOURS = dict(zip(STARTS, ("tab:blue", "tab:grey"), strict=True))
BAR = 0.38  # width


def draw_learning_curve(path: Path, metric: str, lines: dict[str, Sequence[tuple[int, Spread]]]) -> None:
    """A metric over the number of labels, one line a start, bars of a standard deviation."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in lines.items():
        axes.errorbar(
            [labels for labels, _ in points],
            [spread.mean for _, spread in points],
            [spread.deviation for _, spread in points],
            label=name,
            marker="o",
            capsize=3,
        )
    axes.set_xscale("log")
    axes.set_xlabel("labels")
    axes.set_ylabel(metric)
    axes.legend()
    figure.savefig(path, dpi=120)


def draw_worth(path: Path, worths: Sequence[Worth]) -> None:
    """Left the fine-tuned figures from both starts; then, a task each, the probes layer by layer, the mix as a line."""
    figure = Figure(figsize=(3.2 * (len(worths) + 1.4), 3.8), layout="constrained")
    bars, *others = figure.subplots(1, 1 + len(worths), width_ratios=[1.4, *[1] * len(worths)])
    _draw_finetuned(bars, worths)
    for axes, worth in zip(others, worths, strict=True):
        _draw_probes(axes, worth)
    figure.savefig(path, dpi=120)


def _draw_finetuned(axes: Axes, worths: Sequence[Worth]) -> None:
    for offset, start in zip((-BAR / 2, BAR / 2), STARTS, strict=True):
        spreads = [worth.finetuned(start) for worth in worths]
        axes.bar(
            [place + offset for place in range(len(worths))],
            [spread.mean for spread in spreads],
            BAR,
            yerr=[spread.deviation for spread in spreads],
            color=COLOURS[start],
            capsize=3,
            label=start,
        )
    axes.set_xticks(range(len(worths)), [f"{worth.task.name}\n{worth.metric}" for worth in worths], fontsize=8)
    axes.set_title("fine-tuned", fontsize=9)
    axes.legend(fontsize=8)


def _draw_probes(axes: Axes, worth: Worth) -> None:
    for start in STARTS:
        layers = worth.probed(start)
        axes.errorbar(
            range(len(layers)),
            [spread.mean for spread in layers],
            [spread.deviation for spread in layers],
            color=COLOURS[start],
            marker="o",
            capsize=3,
            label=start,
        )
    axes.axhline(worth.mixed(PRETRAINED).mean, color=COLOURS[PRETRAINED], ls="--", lw=0.8, label="learned mix")
    axes.set_title(f"{worth.task.name}: probes, {worth.metric}", fontsize=9)
    axes.set_xlabel("layer")
    axes.legend(fontsize=8)
