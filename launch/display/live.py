"""The live display of a training on a terminal: a progress bar, and below it the last steps' lines.

Every other line of rank 0 (the summary, evaluations, checkpoints, warnings) is printed above the bar and stays. The
text goes through the supervisor's console, whose thread writes it, so that a slow or lost terminal never blocks the
training. If the display itself fails, the plain lines follow.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from configs.schema import TrainConfig
from launch.display.pace import left_s, step_s
from launch.ranks import TERMINAL, Screen
from pretrain.telemetry import STEP_LINE, duration, tail_of_metrics

log = logging.getLogger(__name__)

LAST_LINES = 5
LONGEST_LINE = 1 << 16  # bytes that are awaited without a line break
HIDE_CURSOR = "\x1b[?25l"


@contextmanager
def training_screen(run: Path, train: TrainConfig) -> Iterator[Screen]:
    """Yield where the supervisor shows a run: the live display on a terminal, plain lines elsewhere."""
    if not os.isatty(1) or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        yield TERMINAL
        return
    display = LiveDisplay(run, train, TERMINAL, sys.stdout.encoding or "ascii")
    try:
        yield Screen(display.show, display.say, display.drain)
    finally:
        display.drain()


class LiveDisplay:
    """Shows the output of rank 0 on `terminal`, which takes text of this `encoding`."""

    def __init__(self, run: Path, train: TrainConfig, terminal: Screen, encoding: str) -> None:
        self.terminal = terminal
        self.view = TrainingView(run, train)
        self._rest = b""  # of a line without its end
        self._is_step = False  # whether the last line is a step's; an indented line belongs to the one before it
        console = Console(file=cast("TextIO", _Output(terminal.show, encoding)), force_terminal=True, highlight=False)
        self._live: Live | None = Live(
            self.view, console=console, redirect_stdout=False, redirect_stderr=False, refresh_per_second=4
        )
        self._attempt(lambda live: live.start(refresh=True))

    def show(self, text: bytes) -> None:
        """Show output of rank 0."""
        if self._live is None:
            self.terminal.show(text)
            return
        self._attempt(Live.start)
        *lines, self._rest = (self._rest + text).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._attempt(partial(self._add, line), line + b"\n")
        self._attempt(self._refresh)

    def say(self, text: str) -> None:
        """Print a message to standard error, in place of the bar, which the next output draws again."""
        self._attempt(self._pause)
        self.terminal.say(text)

    def drain(self) -> None:
        """End the display, and wait until the terminal has taken it."""
        if self._live is not None:
            if self._rest:
                self._attempt(partial(self._add, self._rest), self._rest)
            self._attempt(Live.stop if self.view.last else self._pause)
            self._live = None
        self.terminal.drain()

    def _add(self, raw: bytes, live: Live) -> None:
        line = raw.decode(errors="replace")
        self._is_step = self._is_step if line.startswith(" ") else STEP_LINE.match(line) is not None
        if self._is_step:
            self.view.lines.append(line)
        else:
            live.console.print(Text.from_ansi(line), soft_wrap=True)

    def _refresh(self, live: Live) -> None:
        if self.view.lines:
            self.view.read_newest()
        live.refresh()

    def _pause(self, live: Live) -> None:
        live.transient = True
        live.stop()
        live.transient = False

    def _attempt(self, draw: Callable[[Live], object], plain: bytes = b"") -> None:
        """Draw. On any failure show plain lines from now on: a display must not end the training that it shows."""
        if self._live is None:
            if plain:
                self.terminal.show(plain)
            return
        try:
            draw(self._live)
        except Exception as error:  # noqa: BLE001 - whatever it is, the training continues
            failed, self._live = self._live, None
            with suppress(Exception):
                failed.stop()
            self.terminal.show(plain)
            log.warning("the live display failed (%s: %s); plain lines follow", type(error).__name__, error)


class TrainingView:
    """What the display draws: a spinner until the first step, then the bar, its numbers and the last lines."""

    def __init__(self, run: Path, train: TrainConfig) -> None:
        self.run = run
        self.train = train
        self.lines: deque[str] = deque(maxlen=LAST_LINES)
        self.last: dict[str, Any] = {}  # the newest record
        self.began = self.updated = time.monotonic()
        self.eta_s: float | None = None

    def read_newest(self) -> None:
        """Read the newest step's record."""
        records = tail_of_metrics(self.run).merged
        if not records:
            return
        self.last, self.updated, pace_s = records[-1], time.monotonic(), step_s(records)
        if pace_s is not None:
            self.eta_s = left_s(self.train, self.last["step"], float(self.last.get("time_s") or 0.0), pace_s)

    def __rich_console__(self, console: Console, _: object) -> Iterator[RenderableType]:
        if not self.last:
            waited = duration(time.monotonic() - self.began)
            look = "dots" if console.encoding.startswith("utf") else "line"
            yield Spinner(look, f"starting: libraries, data, model, first step ({waited})", speed=0.5)
            return
        lines = [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in self.lines]
        kept = max(1, min(LAST_LINES, console.size.height - 3))
        yield Group(self._bar(), Text(self._numbers(), no_wrap=True, overflow="ellipsis"), *lines[-kept:])

    def _bar(self) -> Table:
        step, steps = self.last["step"], self.train.steps
        share = step / steps
        if self.train.budget_min:
            share = max(share, float(self.last.get("time_s") or 0.0) / (60 * self.train.budget_min))
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(f"step {step:,}/{steps:,}", ProgressBar(1.0, min(1.0, share)), f"{min(1.0, share):4.0%}")
        return row

    def _numbers(self) -> str:
        loss, speed = self.last.get("loss"), self.last.get("tokens_per_s")
        eta_s = None if self.eta_s is None else max(0.0, self.eta_s - (time.monotonic() - self.updated))
        parts = [
            "loss not finite" if loss is None else f"loss {loss:.4f}",
            None if speed is None else f"{speed:,.0f} tokens/s",
            None if eta_s is None else f"ETA {duration(eta_s)}",
        ]
        return " | ".join(filter(None, parts))


class _Output:
    """A text file for Rich that hands all text to a console and shows what its encoding lacks as `?`."""

    def __init__(self, show: Callable[[bytes], None], encoding: str) -> None:
        self._show = show
        self.encoding = encoding

    def write(self, text: str) -> int:
        """Write text. The cursor stays visible: nothing could bring it back after a kill."""
        self._show(text.replace(HIDE_CURSOR, "").encode(self.encoding, "replace"))
        return len(text)

    def flush(self) -> None:
        """Do nothing: the console's thread writes."""

    def isatty(self) -> bool:
        """Return true: it ends at a terminal."""
        return True
