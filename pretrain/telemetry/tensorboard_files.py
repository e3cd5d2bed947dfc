"""Write TensorBoard's files of a run. A full disk interrupts them until space is free, but does not end training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class TensorBoardFiles:
    """Writes scalars and texts. TensorBoard hides steps of earlier starts from `purge_step` on."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imports torch, which readers of metrics.jsonl do not need

        self._open = partial(SummaryWriter, str(folder))
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
