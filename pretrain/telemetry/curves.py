"""Plot curves of runs over their steps, with all runs in each panel. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MetricRecords = Sequence[dict[str, Any]]

POINTS = 400  # maximum per line


class Panel(NamedTuple):
    """One plot: its title, its field in the records, and the field for held-out rows."""

    title: str
    field: str
    held_out_field: str | None = None


LOSS = Panel("masked-LM loss (nats)", "mlm_loss", "valid_mlm_loss")
PANELS = (
    LOSS,
    Panel("masked-LM accuracy", "mlm_accuracy", "valid_mlm_accuracy"),
    Panel("next-sentence accuracy", "nsp_accuracy", "valid_nsp_accuracy"),
    Panel("gradient norm", "grad_norm"),
    Panel("tokens per second", "tokens_per_s"),
    Panel("learning rate", "learning_rate"),
)


def draw_curves(path: Path, runs: Mapping[str, MetricRecords], panels: Sequence[Panel] = PANELS) -> None:
    """Draw the records of runs, by name, to a file, whose suffix determines the format. The loss comes first.

    Dots are held-out values; dashed lines are the unigram losses of the held-out rows.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    figure = Figure(figsize=(14, 7) if columns > 1 else (8, 4.5), layout="constrained")
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=True):
        _draw_panel(axes, panel, runs)
    first = figure.axes[0]
    first.plot([], [], "o", ms=4, color="grey", label="held out")
    _draw_unigram_losses(first, runs.values())
    first.legend()
    figure.savefig(path, dpi=120)


def smooth(records: MetricRecords, field: str, points: int) -> tuple[list[float], list[float]]:
    """Return steps and values of the records with the field, averaged over consecutive ones to `points` at most."""
    found = [(record["step"], record[field]) for record in records if record.get(field) is not None]
    size = max(1, -(-len(found) // points))
    spans = [found[start : start + size] for start in range(0, len(found), size)]
    return [span[-1][0] for span in spans], [sum(value for _, value in span) / len(span) for span in spans]


def _draw_panel(axes: Any, panel: Panel, runs: Mapping[str, MetricRecords]) -> None:
    for name, records in runs.items():
        (line,) = axes.plot(*smooth(records, panel.field, POINTS), label=name, lw=1.0)
        if panel.held_out_field:
            axes.plot(*smooth(records, panel.held_out_field, POINTS), "o", ms=4, color=line.get_color())
    axes.set(title=panel.title, xlabel="step")


def _draw_unigram_losses(axes: Any, runs: Collection[MetricRecords]) -> None:
    """Draw one line per data set: the loss of a model without context."""
    found = {record.get("valid_unigram_loss") for records in runs for record in records}
    for loss in sorted(loss for loss in found if loss is not None):
        axes.axhline(loss, color="grey", ls="--", lw=0.8, label=f"unigram {loss:.2f}")
