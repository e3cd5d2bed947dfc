"""`bertrain prepare` on the screen: a progress bar while it works, a table when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from configs.schema import DataConfig
from launch.console import console
from preprocessing.contract import Manifest
from preprocessing.pipeline import prepare

PLAIN_EVERY_S = 10.0


class Display:
    """Told how far a preparation is, it shows megabytes a second, documents, and the time that remains."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.screen = console()
        self.said_at = self.started
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.screen,
            transient=True,
        )
        self.task = self.bar.add_task("Preparing", total=None, figures="")

    def __call__(self, done_bytes: int, total_bytes: int, documents: int) -> None:
        """Show the state; off a terminal, a line every ten seconds."""
        now = time.monotonic()
        rate = done_bytes / 1e6 / max(now - self.started, 1e-3)
        figures = f"{rate:,.1f} MB/s  {documents:,} documents"
        self.bar.update(self.task, completed=done_bytes, total=total_bytes, figures=figures)
        if not self.screen.is_terminal and now - self.said_at >= PLAIN_EVERY_S:
            self.said_at = now
            self.screen.print(f"prepared {done_bytes / max(total_bytes, 1):.0%}  {figures}", markup=False)

    @contextmanager
    def shown(self) -> Iterator[Display]:
        """The bar moves within the block, on a terminal."""
        if not self.screen.is_terminal:
            yield self
            return
        with self.bar:
            yield self


def prepare_with_progress(data: DataConfig, *, overwrite: bool) -> None:
    """Make the data set, showing how far it is and what came of it."""
    display = Display()
    with display.shown():
        manifest = prepare(data, overwrite=overwrite, progress=display)
    screen = console()
    screen.print(summary(manifest, time.monotonic() - display.started))
    screen.print(f"{data.dataset} is ready", markup=False)


def summary(manifest: Manifest, seconds: float) -> Table:
    """What went in, what came out, and what was dropped on the way."""
    statistics = manifest.statistics
    sums = {name: sum(getattr(shard, name) for shard in manifest.shards) for name in ("rows", "tokens", "bytes")}
    text_mb = statistics.text_bytes / 1e6
    lines = {
        "text": f"{text_mb:,.1f} MB in {statistics.documents:,} documents, {statistics.sentences:,} sentences",
        "held out": f"{statistics.held_out_documents:,} documents",
        "pairs": f"{sums['rows']:,} in {manifest.dupe_factor} passes",
        "tokens": f"{sums['tokens']:,}, of a vocabulary of {manifest.vocabulary.size:,}",
        "shards": f"{len(manifest.shards):,}, {sums['bytes'] / 1e6:,.1f} MB",
        "time": f"{seconds:,.1f} s, {text_mb / seconds:,.1f} MB/s",
    }
    table = Table(show_header=False, box=None)
    for name, value in lines.items():
        table.add_row(name, value)
    for cause, count in sorted(manifest.drops.items()):
        table.add_row(f"dropped: {cause}".replace("_", " "), f"{count:,}")
    return table
