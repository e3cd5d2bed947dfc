"""Console output of `bertrain prepare`: progress while it runs, a summary at the end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from configs.errors import UserError
from configs.exit_codes import DONE, FAILED, STOPPED, ended_by
from configs.machine import interrupting
from configs.schema import DataConfig
from launch.terminal import console, plain_table
from preprocessing.dataset import Manifest
from preprocessing.documents import Progress as State
from preprocessing.execution import THIS_MACHINE, BeamEngine, WorkerKilledError
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming import WHOLE, Share, described, finished_parts, new_parts
from preprocessing.storage import Stamp, Store, store_at

PLAIN_EVERY_S = 10.0
STAGE_LABELS = {
    "input": "Hashing the input",
    "unpacking": "Unpacking files",
    "cleaning": "Cleaning files that cannot be cut",
    "duplicates": "Cleaning",
    "comparison": "Comparing documents",
    "vocabulary": "Sampling text for the vocabulary",
    "groups": "Making pairs",
}


class Display:
    """Show the progress of a preparation: its phase, MB/s, documents, finished groups and remaining time.

    Shows a bar on a terminal, and prints a line every ten seconds elsewhere. `kept` says what earlier runs
    finished, and `received` lists the signals to end it.
    """

    def __init__(
        self, screen: Console, every_s: float = PLAIN_EVERY_S, kept: str = "", received: Sequence[signal.Signals] = ()
    ) -> None:
        self.screen = screen
        self.received = received
        self.every_s = every_s
        self.kept = kept
        self.last_print_s = 0.0
        self.stage = ""
        self.began_s = 0.0  # when the stage began
        columns = (BarColumn(), TextColumn("{task.percentage:3.0f}%  {task.fields[figures]}"), TimeRemainingColumn())
        self.bar = Progress("{task.description}", *columns, console=screen, transient=True)
        self.task = self.bar.add_task("Preparing", total=None, figures="")

    @property
    def has_worked(self) -> bool:
        """Whether the preparation did more than to check a finished data set."""
        return self.stage not in ("", "input")

    def __call__(self, now: State) -> None:
        """Show the given progress. Raises `KeyboardInterrupt` if a signal was received."""
        if self.received:
            raise KeyboardInterrupt
        label = f"{now.phase}/{now.phases} {STAGE_LABELS[now.stage]}"
        if now.stage != self.stage:
            if self.kept and not self.has_worked and now.stage != "input":
                self.screen.print(f"resumes: {self.kept} of earlier runs are kept", markup=False)
            if now.expected and not self.has_worked and now.stage != "input":
                self.screen.print(now.expected, markup=False)
            self.stage, self.began_s = now.stage, now.seconds
            self.bar.reset(self.task, description=label)
        rate = now.bytes_read / 1e6 / max(now.seconds - self.began_s, 1e-3)
        figures = f"{rate:,.1f} MB/s"
        if now.stage != "input":
            figures += f"  {now.documents:,} documents  {now.groups:,} groups"
        self.bar.update(self.task, total=now.bytes_total, completed=now.bytes_read, figures=figures)
        if not self.screen.is_terminal and now.seconds - self.last_print_s >= self.every_s:
            self.last_print_s = now.seconds
            share = now.bytes_read / max(now.bytes_total, 1)
            rest_s = (now.seconds - self.began_s) * (1 - share) / share if share else 0.0
            left = f"  {timedelta(seconds=round(rest_s))} left" if share else ""
            self.screen.print(f"{label}: {share:.0%}  {figures}{left}", markup=False)


def prepare_with_progress(
    data: DataConfig, share: Share = WHOLE, engine: BeamEngine = THIS_MACHINE, *, overwrite: bool = False
) -> int:
    """Prepare the data set, or one share of it, show progress and a summary, and return the exit code.

    SIGTERM is handled like Ctrl-C. If the preparation is stopped, or a worker is killed, the code is 75 if a new part
    was finished, so that running the same command again makes progress.
    """
    if overwrite and share != WHOLE:
        fix = f"remove {data.dataset}, then start the shares"
        raise UserError("shares cannot be combined with --overwrite", place="--overwrite", fix=fix)
    store = store_at(data.dataset)
    before = {} if overwrite else finished_parts(store)
    received: list[signal.Signals] = []
    with interrupting(received):
        try:
            display = Display(console(), kept=described(before), received=received)
            _prepare_with_progress(data, share, engine, display, overwrite=overwrite)
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)  # the signal has taken effect
            number = received[0] if received else signal.SIGINT
            return _ended_early(store, before, f"stopped by {number.name}", ended_by(number))
        except WorkerKilledError as error:
            return _ended_early(store, before, f"error: {error}", FAILED)
    return DONE


def _ended_early(store: Store, before: Mapping[str, Stamp], why: str, code: int) -> int:
    """Say what is kept, and return the exit code: `code` if no part was finished since `before`."""
    parts = finished_parts(store)
    kept = f"kept: {described(parts)}" if parts else "nothing was finished yet"
    new = new_parts(parts, before)
    how = "run the same command again to resume" if parts else "run the same command again to start anew"
    sys.stderr.write(f"{why}\n{kept}{f' ({described(new)} of this run)' if new and before else ''}; {how}\n")
    return STOPPED if new else code


def _prepare_with_progress(
    data: DataConfig, share: Share, engine: BeamEngine, display: Display, *, overwrite: bool
) -> None:
    screen, kept = display.screen, display.kept
    if engine.pool_command:
        screen.print(f"every node needs a worker pool: {engine.pool_command}", markup=False, soft_wrap=True)
    began = time.monotonic()
    with display.bar if screen.is_terminal else nullcontext():
        if share == WHOLE:
            made: Manifest | list[int] = prepare(data, overwrite=overwrite, progress=display, engine=engine)
        else:
            made = prepare_share(data, share, progress=display, engine=engine)
    if isinstance(made, Manifest):
        screen.print(summary(made, time.monotonic() - began))
        state = "is already up to date: recipe, text and shards are unchanged"
        if display.has_worked:
            state = f"is ready; this run resumed an earlier one ({kept} were kept)" if kept else "is ready"
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


def text_in_no_row(manifest: Manifest) -> str:
    """Return the share of word pieces that stand in no row, per pass and over all passes of the training split."""
    losses = [one for one in manifest.losses if one.split == "train"]
    if not losses:
        return "not counted"
    shares = [(one.in_no_row.cut + one.in_no_row.no_pair) / max(1, one.pieces) for one in losses]
    cut, no_pair = (count / max(1, losses[0].pieces) for count in (manifest.in_no_row.cut, manifest.in_no_row.no_pair))
    of_passes = f"{min(shares):.2%}" if min(shares) == max(shares) else f"{min(shares):.2%} to {max(shares):.2%}"
    return (
        f"{cut + no_pair:.2%} of the word pieces (cut off {cut:.2%}, no pair {no_pair:.2%}); {of_passes} of each pass"
    )


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
        "in no row": text_in_no_row(manifest),
        "dropped or repaired": ", ".join(f"{count:,} {cause.replace('_', ' ')}" for cause, count in drops) or "nothing",
        "time": f"{seconds:,.1f} s, {text_mb / seconds:,.1f} MB/s",
    }
    table = plain_table("", "", show_header=False)
    for name, value in lines.items():
        table.add_row(name, value)
    return table
