"""A run's history, its checkpoints and records, and how it is given up for a fresh start. Imports no torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from configs.files import explain_write_errors
from configs.run_layout import CHECKPOINTS, LATEST, METRICS, TENSORBOARD

SET_ASIDE = "set_aside"
PARTS = (CHECKPOINTS, LATEST, METRICS, TENSORBOARD)  # checkpoints first: `latest` alone stops a start in between

log = logging.getLogger(__name__)


def set_aside(run: Path) -> None:
    """Move what a run has learned and recorded to `RUN/set_aside/NN`, so that no later start goes on from it.

    To be called by one process, before any reads the run. Nothing happens to a run without history.
    """
    names = [name for name in PARTS if (run / name).exists()]
    if not names:
        return
    with explain_write_errors(run):
        folder = run / SET_ASIDE / f"{1 + sum(1 for _ in (run / SET_ASIDE).glob('*')):02d}"
        folder.mkdir(parents=True)
        for name in names:
            os.replace(run / name, folder / name)
    log.warning("a fresh start: the run's earlier %s lie in %s", ", ".join(names), folder)
