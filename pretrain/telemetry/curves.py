"""Loss curves of runs as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

MetricRecords = Sequence[dict[str, Any]]
UNIGRAM = "valid_unigram_loss"


def draw_curves(path: Path, runs: dict[str, MetricRecords]) -> None:
    """Masked-LM loss over the steps of each run, its held-out values, and the unigram baseline, as PNG.

    Needs matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, records in runs.items():
        (line,) = axes.plot(
            [record["step"] for record in records], [record["mlm_loss"] for record in records], label=name, lw=0.8
        )
        valid = [record for record in records if "valid_mlm_loss" in record]
        held_out = [record["valid_mlm_loss"] for record in valid]
        axes.plot(
            [record["step"] for record in valid], held_out, "o", color=line.get_color(), label=f"{name}, held out"
        )
    baselines = {record[UNIGRAM] for records in runs.values() for record in records if UNIGRAM in record}
    for baseline in sorted(baselines):  # one a data set
        axes.axhline(baseline, color="grey", ls="--", lw=0.8, label=f"unigram {baseline:.2f}")
    axes.set_xlabel("step")
    axes.set_ylabel("masked-LM loss (nats)")
    axes.legend()
    figure.savefig(path, dpi=120)
