"""Plot curves of runs over their steps, tokens, rows or time, with all runs in each panel. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

MetricRecords = Sequence[dict[str, Any]]
Axis = Literal["step", "tokens", "time", "samples"]

POINTS = 400  # maximum per line
SMOOTH_POINTS = 60  # of the smoothed line, which averages the raw values between two points
MARKERS = "os^Dv*XP"  # one per run, for readers who do not tell the colours apart
COLUMNS = 3
AXES: dict[Axis, tuple[str, str, float]] = {  # field, label, divisor
    "step": ("step", "step", 1),
    "tokens": ("tokens", "tokens trained (millions)", 1e6),
    "time": ("time_s", "training time (minutes)", 60),
    "samples": ("samples", "rows trained", 1),
}


class Panel(NamedTuple):
    """One plot: its title, the unit of its axis, its field in the records, and the field for held-out rows."""

    title: str
    unit: str
    field: str
    held_out_field: str | None = None


LOSS = Panel("masked-LM loss", "nats per masked token", "mlm_loss", "valid_mlm_loss")
PANELS = (
    LOSS,
    Panel("masked-LM accuracy", "share of masked tokens", "mlm_accuracy", "valid_mlm_accuracy"),
    Panel("next-sentence accuracy", "share of rows", "nsp_accuracy", "valid_nsp_accuracy"),
    Panel("gradient norm", "L2 norm before clipping", "grad_norm"),
    Panel("throughput", "tokens per second", "tokens_per_s"),
    Panel("learning rate", "per step", "learning_rate"),
)


def draw_curves(
    path: Path, runs: Mapping[str, MetricRecords], panels: Sequence[Panel] = PANELS, x: Axis = "step"
) -> None:
    """Draw the records of runs, by name, to a file, whose suffix determines the format. The loss comes first.

    Pale lines are single steps, strong ones their running means, markers held-out values, and dashed lines the unigram
    losses of the held-out rows. A panel without a value is left out.
    """
    from matplotlib.figure import Figure

    shown = [panel for panel in panels if any(smooth(records, panel.field, 1, x)[1] for records in runs.values())]
    columns = min(COLUMNS, max(1, len(shown)))
    figure = Figure(figsize=(14, 7.5) if columns > 1 else (8, 5), layout="constrained")
    rows = max(1, -(-len(shown) // columns))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in list(grid.flat)[len(shown) :]:
        axes.remove()
    for axes, panel in zip(grid.flat, shown, strict=False):
        _draw_panel(axes, panel, runs, x)
    first = figure.axes[0]
    if LOSS in shown:
        _draw_unigram_losses(first, runs)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))))
    figure.savefig(path, dpi=120)


def smooth(records: MetricRecords, field: str, points: int, x: Axis = "step") -> tuple[list[float], list[float]]:
    """Return x and values of the records with the field, averaged over consecutive ones to `points` at most."""
    name, _, divisor = AXES[x]
    found = [
        (record[name] / divisor, record[field])
        for record in records
        if record.get(field) is not None and record.get(name) is not None
    ]
    size = max(1, -(-len(found) // points))
    spans = [found[start : start + size] for start in range(0, len(found), size)]
    return [span[-1][0] for span in spans], [sum(value for _, value in span) / len(span) for span in spans]


def _draw_panel(axes: Any, panel: Panel, runs: Mapping[str, MetricRecords], x: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, (name, records) in enumerate(runs.items()):
        colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
        raw, smoothed = (smooth(records, panel.field, points, x) for points in (POINTS, SMOOTH_POINTS))
        if not raw[1]:
            continue
        if len(raw[1]) > len(smoothed[1]):
            axes.plot(*raw, lw=0.8, alpha=0.3, color=colour, label=f"_{panel.field} of single steps")
        is_point = {"marker": marker, "ms": 5} if len(smoothed[1]) == 1 else {}
        axes.plot(*smoothed, label=f"{name}: training", lw=1.6, color=colour, **is_point)
        held_out = smooth(records, panel.held_out_field, POINTS, x) if panel.held_out_field else ([], [])
        if held_out[1]:
            axes.plot(*held_out, ls="", marker=marker, ms=6, mec="white", color=colour, label=f"{name}: held out")
    axes.set(title=panel.title, xlabel=AXES[x][1], ylabel=panel.unit)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=x in ("step", "samples")))
    if panel.field == "learning_rate":
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))


def _draw_unigram_losses(axes: Any, runs: Mapping[str, MetricRecords]) -> None:
    """Draw one line per data set: the loss of a model without context."""
    found = {record.get("valid_unigram_loss") for records in runs.values() for record in records}
    for loss in sorted(loss for loss in found if loss is not None):
        axes.axhline(loss, color="grey", ls="--", lw=1.0, label=f"unigram {loss:.2f}")
