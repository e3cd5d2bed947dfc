"""PNG plots of transfer results. All need matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pretrain.transfer.features import Floats
from pretrain.transfer.senses import Separation
from pretrain.transfer.task_report import PRETRAINED, STARTS, Worth
from pretrain.transfer.trials import Spread

START_COLOURS = dict(zip(STARTS, ("tab:blue", "tab:grey"), strict=True))
START_MARKERS = dict(zip(STARTS, "os", strict=True))
MARKERS = "os^Dv*XP"  # beside colours, for readers who do not tell these apart
BAR_WIDTH = 0.38
SCATTER_LAYERS = 3  # number of layers for which vectors are plotted


def draw_learning_curve(path: Path, metric: str, lines: dict[str, Sequence[tuple[int, Spread]]]) -> None:
    """Draw a metric over the number of labels: one line per starting point, with bars of one standard deviation."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for (name, points), marker in zip(lines.items(), cycle(MARKERS), strict=False):
        axes.errorbar(
            [labels for labels, _ in points],
            [spread.mean for _, spread in points],
            [spread.deviation for _, spread in points],
            label=name,
            marker=marker,
            capsize=3,
        )
    axes.set_xscale("log")
    axes.set_xlabel("number of labels")
    axes.set_ylabel(f"{metric} (bars: 1 standard deviation)")
    _add_legend(figure, axes)
    figure.savefig(path, dpi=120)


def draw_worth(path: Path, worths: Sequence[Worth]) -> None:
    """Draw the fine-tuned metrics from both starting points, then one plot per task of its probes.

    A probe plot shows the metric of each layer, and that of the learned mix as a horizontal line.
    """
    figure = Figure(figsize=(3.2 * (len(worths) + 1.4), 3.8), layout="constrained")
    bars, *others = figure.subplots(1, 1 + len(worths), width_ratios=[1.4, *[1] * len(worths)])
    _draw_finetuned(bars, worths)
    for axes, worth in zip(others, worths, strict=True):
        _draw_probes(axes, worth)
    _add_legend(figure, bars, *others)
    figure.savefig(path, dpi=120)


def draw_senses(
    path: Path, word: str, vectors_LNH: Floats, senses: Sequence[str], separations: Sequence[Separation]
) -> None:
    """Draw the word's vectors in the first, middle and last layer, and the separation of its senses in all layers.

    Vectors are projected onto their two principal components. Needs scikit-learn.
    """
    layers = np.linspace(0, len(vectors_LNH) - 1, min(SCATTER_LAYERS, len(vectors_LNH)), dtype=int)
    figure = Figure(figsize=(3.4 * (len(layers) + 1), 3.6), layout="constrained")
    *scatters, curve = figure.subplots(1, len(layers) + 1)
    for axes, layer in zip(scatters, layers, strict=True):
        _scatter(axes, vectors_LNH[layer], senses)
        axes.set_title(f"{word}, layer {layer}", fontsize=9)
    curve.plot([found.silhouette for found in separations], marker="P", color="tab:green", label="silhouette")
    accuracies = [found.accuracy for found in separations]
    curve.plot(accuracies, marker="X", color="tab:purple", label="nearest-centroid accuracy")
    curve.set_title("separation of the senses", fontsize=9)
    curve.set_ylabel("silhouette (-1 to 1), accuracy (share)", fontsize=8)
    _number_layers(curve)
    _add_legend(figure, scatters[0], curve)
    figure.savefig(path, dpi=120, format="png")


def _number_layers(axes: Axes) -> None:
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _add_legend(figure: Figure, *sources: Axes) -> None:
    """Add one legend below all plots, where it covers no data."""
    found = {label: handle for axes in sources for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=4, fontsize=8)


def _scatter(axes: Axes, vectors_NH: Floats, senses: Sequence[str]) -> None:
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    points_N2 = PCA(2).fit_transform(normalize(vectors_NH))
    for sense, marker in zip(dict.fromkeys(senses), cycle(MARKERS), strict=False):
        of_sense = np.array([one == sense for one in senses])
        axes.scatter(points_N2[of_sense, 0], points_N2[of_sense, 1], s=24, marker=marker, label=sense)
    axes.set_xlabel("1st principal component", fontsize=8)
    axes.set_ylabel("2nd principal component", fontsize=8)


def _draw_finetuned(axes: Axes, worths: Sequence[Worth]) -> None:
    for offset, start in zip((-BAR_WIDTH / 2, BAR_WIDTH / 2), STARTS, strict=True):
        spreads = [worth.finetuned(start) for worth in worths]
        axes.bar(
            [place + offset for place in range(len(worths))],
            [spread.mean for spread in spreads],
            BAR_WIDTH,
            yerr=[spread.deviation for spread in spreads],
            color=START_COLOURS[start],
            capsize=3,
            label=start,
        )
    axes.set_xticks(range(len(worths)), [f"{worth.task.name}\n{worth.metric}" for worth in worths], fontsize=8)
    axes.set_title("fine-tuned", fontsize=9)
    axes.set_ylabel("metric (bars: 1 standard deviation)", fontsize=8)


def _draw_probes(axes: Axes, worth: Worth) -> None:
    for start in STARTS:
        layers = worth.probed(start)
        axes.errorbar(
            range(len(layers)),
            [spread.mean for spread in layers],
            [spread.deviation for spread in layers],
            color=START_COLOURS[start],
            marker=START_MARKERS[start],
            capsize=3,
            label=start,
        )
    axes.axhline(worth.mixed(PRETRAINED).mean, color=START_COLOURS[PRETRAINED], ls="--", lw=0.8, label="learned mix")
    axes.set_title(f"{worth.task.name}: probes", fontsize=9)
    axes.set_ylabel(worth.metric, fontsize=8)
    _number_layers(axes)
