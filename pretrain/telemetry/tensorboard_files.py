"""TensorBoard's files of a run. A full disk ends them, until there is room again; it does not end the training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class TensorBoardFiles:
    """Writes scalars and texts. Steps from `purge_step` on, of an earlier start, are no longer shown."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imports torch, which readers of metrics.jsonl do without

        self._open = partial(SummaryWriter, str(folder))
        self._writer: Any = self._open(purge_step=purge_step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Values of one step, by tag."""
        for tag, value in values.items():
            self._attempt(partial(self._add, tag, value, step))

    def _add(self, tag: str, value: float, step: int) -> None:
        self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """A text, in Markdown."""
        self._attempt(lambda: self._writer.add_text(tag, text, step))

    def flush(self) -> None:
        """Write out what is buffered; begin anew after a failure."""
        if self._writer is None:
            self._begin_anew()
        self._attempt(lambda: self._writer.flush())

    def close(self) -> None:
        """Nothing more will be written."""
        self._attempt(lambda: self._writer.close())

    def _attempt(self, write: Callable[[], object]) -> None:
        if self._writer is None:
            return
        try:
            write()
        except OSError as error:
            log.error("TensorBoard's files miss what follows: %s", error)
            self._writer = None

    def _begin_anew(self) -> None:
        try:
            self._writer = self._open()
        except OSError:  # said before: the disk is still full
            self._writer = None
