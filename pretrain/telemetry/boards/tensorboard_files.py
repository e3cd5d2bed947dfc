"""Write TensorBoard's files of a run. A full disk interrupts them until space is free, but does not end training."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pretrain.telemetry.boards.histograms import Histogram  # it needs torch

log = logging.getLogger(__name__)
_STAMP = re.compile(r"events\.out\.tfevents\.(\d{10,11})\.")


class TensorBoardFiles:
    """Writes scalars and texts. TensorBoard hides steps of earlier starts from `purge_step` on."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._open = partial(_open_writer, folder)
        self._writer: Any = self._open(purge_step=purge_step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write the values of one step, by tag."""
        for tag, value in values.items():
            self._attempt(partial(self._add, tag, value, step))

    def _add(self, tag: str, value: float, step: int) -> None:
        self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Write a Markdown text."""
        self._attempt(lambda: self._writer.add_text(tag, text, step))

    def histogram(self, tag: str, histogram: Histogram, step: int) -> None:
        """Write the counts of a tensor's values."""
        self._attempt(lambda: self._writer.add_histogram_raw(tag, *vars(histogram).values(), global_step=step))

    def layout(self, charts: dict[str, dict[str, list[Any]]]) -> None:
        """Write the charts of the tab Custom Scalars."""
        self._attempt(lambda: self._writer.add_custom_scalars(charts))

    def hparams(self, values: Mapping[str, bool | float | str], metric: str) -> None:
        """Write the run's values for the tab HParams, which shows the last value of the scalar `metric` with them."""
        self._attempt(lambda: _add_hparams(self._writer, values, metric))

    def flush(self) -> None:
        """Write buffered values; reopen the files after a failure."""
        if self._writer is None:
            self._reopen()
        self._attempt(lambda: self._writer.flush())

    def close(self) -> None:
        """Close the files."""
        self._attempt(lambda: self._writer.close())

    def _attempt(self, write: Callable[[], object]) -> None:
        if self._writer is None:
            return
        try:
            write()
        except OSError as error:
            log.error("cannot write TensorBoard's files, which lack the following steps: %s", error)
            self._writer = None

    def _reopen(self) -> None:
        try:
            self._writer = self._open()
        except OSError:  # already reported: the disk is still full
            self._writer = None


def _add_hparams(writer: Any, values: Mapping[str, bool | float | str], metric: str) -> None:
    """Write them to the run's own files: `SummaryWriter.add_hparams` would make a run of its own for them."""
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(values), {metric: 0.0}):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(summary)  # the only way into this run's own files


def _open_writer(folder: Path, **settings: int) -> Any:
    """Open a file that TensorBoard reads after the earlier ones: it reads them in the order of their names.

    A name states the time of its machine's clock, which can be behind that of the node of an earlier start.
    """
    from tensorboard.summary.writer import event_file_writer
    from torch.utils.tensorboard import SummaryWriter  # imports torch, which readers of metrics.jsonl do not need

    stamps = [int(match[1]) for file in folder.glob("*") if (match := _STAMP.match(file.name))]
    clock, event_file_writer.time = event_file_writer.time, _ClockFrom(max(stamps, default=0) + 1)
    try:
        return SummaryWriter(str(folder), **settings)
    finally:
        event_file_writer.time = clock


class _ClockFrom:
    """The module `time`, as far as TensorBoard's writer uses it, with a clock that starts at a time or later."""

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s

    def time(self) -> float:
        return max(time.time(), self._first_s)
