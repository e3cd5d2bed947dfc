"""Set a run's history (checkpoints and records) aside, for a start that goes back. Imports no torch."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from configs.files import atomic_write, atomic_write_text, explain_write_errors, open_regular
from configs.run_layout import CHECKPOINTS, LATEST, METRICS, TENSORBOARD, checkpoint_name, step_of

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
        folder = _new_folder(run)
        for name in names:
            if (run / name).is_symlink() and name == CHECKPOINTS:  # it stays where the user wants checkpoints
                _move_checkpoints(run, sorted(path.name for path in (run / name).glob("step_*")), folder)
            else:
                os.replace(run / name, folder / name)
    log.warning("fresh start: the run's earlier %s were moved to %s", ", ".join(names), folder)


def set_aside_after(run: Path, step: int, *, records: bool = False) -> None:
    """Move the checkpoints of later steps to `RUN/set_aside/NN`, with a copy of the records: training goes back.

    Without later checkpoints, nothing is moved unless `records` is set. Call it in one process.
    """
    names = _names_after(run, step)
    if not names and not (records and (run / METRICS).exists()):
        return
    with explain_write_errors(run):
        folder = set_aside_checkpoints(run, names)
        if (run / METRICS).exists():
            _copy(run / METRICS, folder / METRICS)
        if (run / CHECKPOINTS / checkpoint_name(step)).is_dir():
            atomic_write_text(run / LATEST, checkpoint_name(step) + "\n")
    what = f"the later checkpoints {', '.join(names)} were moved" if names else "the later records were copied"
    log.warning("training goes back: %s to %s", what, folder)


def set_aside_checkpoints(run: Path, names: Sequence[str]) -> Path:
    """Move these checkpoints to a new folder `RUN/set_aside/NN`, and return it."""
    folder = _new_folder(run)
    _move_checkpoints(run, names, folder)
    return folder


def take_records(run: Path, checkpoint: Path) -> None:
    """Replace the run's records by those beside a checkpoint of another history, set aside or of another run.

    Otherwise the run would show the records of steps that led to other weights. They must have been set aside. Does
    nothing if the run has no records, or if there are none beside the checkpoint.
    """
    source = checkpoint.absolute().parent.parent / METRICS
    if checkpoint.absolute().parent.name != CHECKPOINTS or not source.is_file() or not (run / METRICS).exists():
        return
    try:
        records = open_regular(source)
    except OSError as error:
        log.warning("%s: cannot read (%s); the run keeps its own records", source, error.strerror)
        return
    with records, explain_write_errors(run), atomic_write(run / METRICS) as new:
        shutil.copyfileobj(records, new)


def _move_checkpoints(run: Path, names: Sequence[str], folder: Path) -> None:
    """Move checkpoints to `folder/checkpoints`.

    If the run's `checkpoints` is on another file system, where a user wanted the space to be taken, they stay there, in
    `checkpoints/set_aside/NN`, and `folder/checkpoints` is a link to it.
    """
    target = folder / CHECKPOINTS
    target.mkdir()
    for name in reversed(names):  # the newest first, so that an interrupted move leaves no gap
        try:
            os.replace(run / CHECKPOINTS / name, target / name)
        except OSError as error:
            if error.errno != errno.EXDEV or target.is_symlink():
                raise
            target.rmdir()
            target.symlink_to(_new_folder((run / CHECKPOINTS).resolve()))
            os.replace(run / CHECKPOINTS / name, target / name)


def _names_after(run: Path, step: int) -> list[str]:
    found = {path.name: step_of(path.name) for path in (run / CHECKPOINTS).glob("step_*")}
    return sorted(name for name, number in found.items() if number is not None and number > step)


def _new_folder(run: Path) -> Path:
    number = 1 + sum(1 for _ in (run / SET_ASIDE).glob("*"))
    while True:
        folder = run / SET_ASIDE / f"{number:02d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder


def _copy(file: Path, target: Path) -> None:
    try:
        os.link(file, target)  # the run's own file is replaced when it is cut back, and never changed before
    except OSError:
        shutil.copyfile(file, target)
