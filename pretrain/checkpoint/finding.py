"""Which checkpoints a run has, and which of them are whole."""

from __future__ import annotations

import logging
from pathlib import Path

from configs.errors import UserError
from configs.files import sha256_of_file
from configs.run_layout import CHECKPOINTS, LATEST
from pretrain.checkpoint.state import RESUME_FIX, STATE, read_state
from pretrain.engine import beat, gather, rank_and_size

log = logging.getLogger(__name__)


def has_checkpoint(run: Path) -> bool:
    """Whether a run has a checkpoint, or should have: training then resumes from one, or not at all."""
    names, promised = _listing(run)
    return promised or bool(names)


def find_checkpoint(place: Path) -> Path | None:
    """The newest valid checkpoint of the run in the folder `place`; None when it has none at all. Every rank calls it.

    Every file's digest is checked, shared out among the ranks. A damaged checkpoint is skipped, with a warning, for
    the one before; `UserError` when none is left. `place` may also be the folder of one checkpoint, which is then
    the answer, or damaged and a `UserError`.
    """
    if not place.is_dir():
        raise UserError("no such run or checkpoint", place=str(place), fix="give a folder of one of them")
    if place.name.startswith("step_"):
        damage = _damage_on_any_rank(place)
        if damage:
            raise UserError(damage, place=str(place), fix="choose another checkpoint")
        return place
    names, promised = gather(_listing(place))[0]
    for name in reversed(names):
        damage = _damage_on_any_rank(place / CHECKPOINTS / name)
        if damage is None:
            return place / CHECKPOINTS / name
        _warn("checkpoint %s is skipped: %s", name, damage)
    if names or promised:
        raise UserError("there is no valid checkpoint", place=str(place / CHECKPOINTS), fix=RESUME_FIX)
    return None


def checkpoint_names(checkpoints: Path) -> list[str]:
    """Names of a run's checkpoints, whole or not, the oldest first."""
    return sorted(path.name for path in checkpoints.glob("step_*") if path.is_dir())


def _listing(run: Path) -> tuple[list[str], bool]:
    """The run's checkpoints, and whether there must be one."""
    names = checkpoint_names(run / CHECKPOINTS)
    try:
        newest = (run / LATEST).read_text().strip()
    except FileNotFoundError:
        return names, False
    if newest not in names:
        _warn("%s names %s, which is not there", run / LATEST, newest)
    return names, True


def _damage_on_any_rank(folder: Path) -> str | None:
    """What is wrong with a checkpoint, the same answer on all ranks; None when nothing is."""
    return next((damage for damage in gather(_find_damage(folder)) if damage), None)


def _find_damage(folder: Path) -> str | None:
    """What this rank finds wrong: state.json, or a file of its share."""
    try:
        state = read_state(folder)
        rank, world_size = rank_and_size()
        for entry in state.files[rank::world_size]:
            beat()
            path = folder / entry.name
            if path.stat().st_size != entry.bytes:
                return f"{entry.name} has {path.stat().st_size} bytes, not {entry.bytes}"
            if sha256_of_file(path) != entry.sha256:
                return f"{entry.name} is damaged: its SHA-256 is not that of {STATE}"
    except UserError as error:
        return error.cause
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    return None


def _warn(message: str, *arguments: object) -> None:
    if rank_and_size()[0] == 0:
        log.warning(message, *arguments)
