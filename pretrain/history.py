"""A run's history: its checkpoints and records, and how it is given up for a fresh start."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from configs.files import explain_write_errors
from pretrain.checkpoint import CHECKPOINTS, LATEST
from pretrain.distributed import gather, rank_and_size
from pretrain.metrics import METRICS, TENSORBOARD

SET_ASIDE = "set_aside"
PARTS = (CHECKPOINTS, LATEST, METRICS, TENSORBOARD)  # checkpoints first: `latest` alone stops a start in between

log = logging.getLogger(__name__)


def set_aside(run: Path) -> None:
    """Move what a run has learned and recorded to `RUN/set_aside/NN`, so that no later start goes on from it.

    Every rank calls it, before anything of the run is read; rank 0 moves. Nothing happens to a run without history.
    """
    if rank_and_size()[0] == 0:
        with explain_write_errors(run):
            _move(run, [name for name in PARTS if (run / name).exists()])
    gather(None)


def _move(run: Path, names: list[str]) -> None:
    if not names:
        return
    folder = run / SET_ASIDE / f"{1 + sum(1 for _ in (run / SET_ASIDE).glob('*')):02d}"
    folder.mkdir(parents=True)
    for name in names:
        os.replace(run / name, folder / name)
    log.warning("a fresh start: the run's earlier %s lie in %s", ", ".join(names), folder)
