"""Set a run's history (checkpoints and records) aside for a fresh start. Imports no torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from configs.files import explain_write_errors
from configs.run_layout import CHECKPOINTS, LATEST, METRICS, TENSORBOARD

SET_ASIDE = "set_aside"
PARTS = (
    CHECKPOINTS,
    LATEST,
    METRICS,
    TENSORBOARD,
)  # checkpoints first: if the move is interrupted, `latest` alone still prevents a start from step 0

log = logging.getLogger(__name__)


def set_aside(run: Path) -> None:
    """Move a run's checkpoints and records to `RUN/set_aside/NN`, so that no later start resumes from them.

    Call it in one process, before any process reads the run. A run without history is left unchanged.
    """
    names = [name for name in PARTS if (run / name).exists()]
    if not names:
        return
    with explain_write_errors(run):
        folder = run / SET_ASIDE / f"{1 + sum(1 for _ in (run / SET_ASIDE).glob('*')):02d}"
        folder.mkdir(parents=True)
        for name in names:
            os.replace(run / name, folder / name)
    log.warning("fresh start: the run's earlier %s were moved to %s", ", ".join(names), folder)
