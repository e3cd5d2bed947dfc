"""Plot curves of runs over their steps, tokens, rows or time, with all runs in each panel. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

MetricRecords = Sequence[dict[str, Any]]
Axis = Literal["step", "tokens", "time", "samples"]

POINTS = 400  # maximum per line
SMOOTHED_SHARE = 20  # the smoothed line is a running mean over this part of the points
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
SENTENCES = Panel("next-sentence accuracy", "share of rows", "nsp_accuracy", "valid_nsp_accuracy")
LEARNING_RATE = Panel("learning rate", "per step", "learning_rate")  # without noise to smooth
CHANCE = 0.5  # accuracy of a guess: both labels are equally frequent
PANELS = (
    LOSS,
    Panel("masked-LM accuracy", "share of masked tokens", "mlm_accuracy", "valid_mlm_accuracy"),
    SENTENCES,
    Panel("gradient norm", "L2 norm before clipping", "grad_norm"),
    Panel("throughput", "tokens per second", "tokens_per_s"),
    LEARNING_RATE,
)


def draw_curves(
    path: Path, runs: Mapping[str, MetricRecords], panels: Sequence[Panel] = PANELS, x: Axis = "step"
) -> None:
    """Draw the records of runs, by name, to a file, whose suffix determines the format. The loss comes first.

    Pale lines are single steps, strong ones their running means, markers held-out values, dashed lines the unigram
    losses of the held-out rows, and a dotted one the accuracy of a guess. A panel without a value is left out.
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
    for axes, panel in zip(figure.axes, shown, strict=True):
        if panel is LOSS:
            _draw_unigram_losses(axes, runs)
        if panel is SENTENCES:
            axes.axhline(CHANCE, color="grey", ls=":", lw=1.2, label=f"chance {CHANCE:.2f}")
    named = {label: handle for axes in figure.axes for handle, label in _handles(axes)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=min(4, max(1, len(named))))
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


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Return the mean of each value and its neighbours, `width` values together; fewer at both ends."""
    half = width // 2
    return [
        sum(window) / len(window)
        for window in (values[max(0, place - half) : place + half + 1] for place in range(len(values)))
    ]


def _draw_panel(axes: Any, panel: Panel, runs: Mapping[str, MetricRecords], x: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, (name, records) in enumerate(runs.items()):
        colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
        places, raw = smooth(records, panel.field, POINTS, x)
        if not raw:
            continue
        smoothed = raw if panel is LEARNING_RATE else running_mean(raw, len(raw) // SMOOTHED_SHARE)
        if smoothed != raw:
            axes.plot(places, raw, lw=0.8, alpha=0.3, color=colour, label=f"_{panel.field} of single steps")
        is_point = {"marker": marker, "ms": 5} if len(raw) == 1 else {}
        axes.plot(places, smoothed, label=f"{name}: training", lw=1.6, color=colour, **is_point)
        held_out = smooth(records, panel.held_out_field, POINTS, x) if panel.held_out_field else ([], [])
        if held_out[1]:
            axes.plot(*held_out, ls="", marker=marker, ms=6, mec="white", color=colour, label=f"{name}: held out")
    axes.set(title=panel.title, xlabel=AXES[x][1], ylabel=panel.unit)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=x in ("step", "samples")))
    if panel is LEARNING_RATE:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))


def _handles(axes: Any) -> Iterator[tuple[Any, str]]:
    yield from zip(*axes.get_legend_handles_labels(), strict=True)


def _draw_unigram_losses(axes: Any, runs: Mapping[str, MetricRecords]) -> None:
    """Draw one line per data set: the loss of a model without context."""
    found = {record.get("valid_unigram_loss") for records in runs.values() for record in records}
    for loss in sorted(loss for loss in found if loss is not None):
        axes.axhline(loss, color="grey", ls="--", lw=1.0, label=f"unigram {loss:.2f}")
