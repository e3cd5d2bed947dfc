"""Pictures of the second stage, as PNG. All need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pretrain.transfer.features import Floats
from pretrain.transfer.senses import Separation
from pretrain.transfer.task_report import PRETRAINED, STARTS, Worth
from pretrain.transfer.trials import Spread

START_COLOURS = dict(zip(STARTS, ("tab:blue", "tab:grey"), strict=True))
BAR = 0.38  # width
SCATTERS = 3  # layers to show the senses in


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


def draw_senses(
    path: Path, word: str, vectors_LNH: Floats, senses: Sequence[str], separations: Sequence[Separation]
) -> None:
    """The word's vectors in the first, the middle and the last layer, by their two main components; then all layers.

    Needs scikit-learn.
    """
    layers = np.linspace(0, len(vectors_LNH) - 1, min(SCATTERS, len(vectors_LNH)), dtype=int)
    figure = Figure(figsize=(3.4 * (len(layers) + 1), 3.6), layout="constrained")
    *scatters, curve = figure.subplots(1, len(layers) + 1)
    for axes, layer in zip(scatters, layers, strict=True):
        _scatter(axes, vectors_LNH[layer], senses)
        axes.set_title(f"{word}, layer {layer}", fontsize=9)
    scatters[0].legend(fontsize=8)
    curve.plot([found.silhouette for found in separations], marker="o", label="silhouette")
    curve.plot([found.accuracy for found in separations], marker="o", label="named right by the nearest centroid")
    curve.set_title("how far apart the senses lie", fontsize=9)
    curve.set_xlabel("layer")
    curve.legend(fontsize=8)
    figure.savefig(path, dpi=120, format="png")


def _scatter(axes: Axes, vectors_NH: Floats, senses: Sequence[str]) -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    points_N2 = PCA(2).fit_transform(normalize(vectors_NH))
    for sense in dict.fromkeys(senses):
        of_sense = np.array([one == sense for one in senses])
        axes.scatter(points_N2[of_sense, 0], points_N2[of_sense, 1], s=24, label=sense)


def _draw_finetuned(axes: Axes, worths: Sequence[Worth]) -> None:
    for offset, start in zip((-BAR / 2, BAR / 2), STARTS, strict=True):
        spreads = [worth.finetuned(start) for worth in worths]
        axes.bar(
            [place + offset for place in range(len(worths))],
            [spread.mean for spread in spreads],
            BAR,
            yerr=[spread.deviation for spread in spreads],
            color=START_COLOURS[start],
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
            color=START_COLOURS[start],
            marker="o",
            capsize=3,
            label=start,
        )
    axes.axhline(worth.mixed(PRETRAINED).mean, color=START_COLOURS[PRETRAINED], ls="--", lw=0.8, label="learned mix")
    axes.set_title(f"{worth.task.name}: probes, {worth.metric}", fontsize=9)
    axes.set_xlabel("layer")
    axes.legend(fontsize=8)
