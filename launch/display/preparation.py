"""Console output of `bertrain prepare`: progress while it runs, a summary at the end."""

from __future__ import annotations

import signal
import time
from contextlib import nullcontext
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from configs.errors import UserError
from configs.exit_codes import DONE, STOPPED
from configs.schema import DataConfig
from launch.terminal import console
from preprocessing.dataset import Manifest
from preprocessing.documents import Progress as State
from preprocessing.execution import THIS_MACHINE, BeamEngine
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming import WHOLE, Share, finished_parts
from preprocessing.storage import store_at

PLAIN_EVERY_S = 10.0
STAGE_LABELS = {
    "input": "Hashing the input",
    "duplicates": "Cleaning, finding duplicates",
    "vocabulary": "Sampling text for the vocabulary",
    "groups": "Making pairs",
}


class Display:
    """Show the progress of a preparation: MB/s, documents, finished groups and remaining time.

    Shows a bar on a terminal, and prints a line every ten seconds elsewhere.
    """

    def __init__(self, screen: Console, every_s: float = PLAIN_EVERY_S) -> None:
        self.screen = screen
        self.every_s = every_s
        self.last_print_s = 0.0
        self.stage = ""
        self.began_s = 0.0  # when the stage began
        columns = (BarColumn(), TextColumn("{task.percentage:3.0f}%  {task.fields[figures]}"), TimeRemainingColumn())
        self.bar = Progress("{task.description}", *columns, console=screen, transient=True)
        self.task = self.bar.add_task("Preparing", total=None, figures="")

    def __call__(self, now: State) -> None:
        """Show the given progress."""
        if now.stage != self.stage:
            self.stage, self.began_s = now.stage, now.seconds
            self.bar.reset(self.task, description=STAGE_LABELS[now.stage])
        rate = now.bytes_read / 1e6 / max(now.seconds - self.began_s, 1e-3)
        figures = f"{rate:,.1f} MB/s  {now.documents:,} documents  {now.groups:,} groups"
        self.bar.update(self.task, total=now.bytes_total, completed=now.bytes_read, figures=figures)
        if not self.screen.is_terminal and now.seconds - self.last_print_s >= self.every_s:
            self.last_print_s = now.seconds
            share = now.bytes_read / max(now.bytes_total, 1)
            rest_s = (now.seconds - self.began_s) * (1 - share) / share if share else 0.0
            left = f"  {timedelta(seconds=round(rest_s))} left" if share else ""
            self.screen.print(f"{STAGE_LABELS[now.stage]}: {share:.0%}  {figures}{left}", markup=False)


def prepare_with_progress(
    data: DataConfig, share: Share = WHOLE, engine: BeamEngine = THIS_MACHINE, *, overwrite: bool = False
) -> int:
    """Prepare the data set, or one share of it, show progress and a summary, and return the exit code.

    SIGTERM is handled like Ctrl-C: returns 75 if a new part was finished, so that running the same command again makes
    progress, and raises `KeyboardInterrupt` otherwise.
    """
    if overwrite and share != WHOLE:
        fix = f"remove {data.dataset}, then start the shares"
        raise UserError("shares cannot be combined with --overwrite", place="--overwrite", fix=fix)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    store = store_at(data.dataset)
    finished = finished_parts(store)
    try:
        _prepare_with_progress(data, share, engine, overwrite=overwrite)
    except KeyboardInterrupt:
        if finished_parts(store) <= finished:
            raise
        return STOPPED
    return DONE


def _prepare_with_progress(data: DataConfig, share: Share, engine: BeamEngine, *, overwrite: bool) -> None:
    screen = console()
    display = Display(screen)
    began = time.monotonic()
    with display.bar if screen.is_terminal else nullcontext():
        if share == WHOLE:
            made: Manifest | list[int] = prepare(data, overwrite=overwrite, progress=display, engine=engine)
        else:
            made = prepare_share(data, share, progress=display, engine=engine)
    if isinstance(made, Manifest):
        screen.print(summary(made, time.monotonic() - began))
        state = "is ready" if display.stage else "is already up to date: recipe, text and shards are unchanged"
        screen.print(f"{data.dataset} {state}", markup=False)
    else:
        screen.print(f"{data.dataset} is incomplete: {unfinished_shares(made, share)}", markup=False)


def unfinished_shares(missing: list[int], share: Share) -> str:
    """Return a sentence that lists the missing shares of a data set."""
    *first, last = missing
    of = f"of {share.count}"
    if not first:
        return f"share {last} {of} is not finished"
    return f"shares {', '.join(map(str, first))} and {last} {of} are not finished"


def summary(manifest: Manifest, seconds: float) -> Table:
    """Return a table of what was read, written and dropped."""
    statistics = manifest.statistics
    sums = {name: sum(getattr(shard, name) for shard in manifest.shards) for name in ("rows", "tokens", "bytes")}
    text_mb = statistics.text_bytes / 1e6
    drops = sorted(manifest.drops.items())
    lines = {
        "text": f"{text_mb:,.1f} MB in {statistics.documents:,} documents, {statistics.sentences:,} sentences",
        "held out": f"{statistics.held_out_documents:,} documents",
        "pairs": f"{sums['rows']:,} in {manifest.dupe_factor} passes",
        "tokens": f"{sums['tokens']:,}, vocabulary of {manifest.vocabulary.size:,}",
        "shards": f"{len(manifest.shards):,}, {sums['bytes'] / 1e6:,.1f} MB",
        "dropped or repaired": ", ".join(f"{count:,} {cause.replace('_', ' ')}" for cause, count in drops) or "nothing",
        "time": f"{seconds:,.1f} s, {text_mb / seconds:,.1f} MB/s",
    }
    table = Table(show_header=False, box=None)
    for name, value in lines.items():
        table.add_row(name, value)
    return table
