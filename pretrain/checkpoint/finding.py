"""Find the checkpoints of a run, and verify that they are complete."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from configs.errors import UserError
from configs.files import read_bounded, sha256_of_file
from configs.run_layout import CHECKPOINTS, LATEST, step_of
from configs.schema import Recipe
from pretrain.checkpoint.state import STATE, fix_of, read_state
from pretrain.engine import beat, gather, rank_and_size

LONGEST_NAME = 255  # bytes of `latest` that are read

log = logging.getLogger(__name__)


def has_checkpoint(run: Path) -> bool:
    """Return whether a run has a checkpoint, or must have one: training then never starts from step 0."""
    names, must_exist = _listing(run)
    return must_exist or bool(names)


def find_checkpoint(place: Path) -> Path | None:
    """Return the newest valid checkpoint of the run in the folder `place`, or None if it has none. A collective.

    The digests of all files are checked, divided among the ranks. A damaged checkpoint is skipped with a warning, and
    the previous one is tried. Raises `UserError` if no valid checkpoint is left. `place` can also be the folder of one
    checkpoint: it is returned if it is valid, and raises `UserError` otherwise.
    """
    if not place.is_dir():
        raise UserError(
            "no such run or checkpoint", place=str(place), fix="give the folder of a run or of a checkpoint"
        )
    if step_of(place.absolute().name) is not None:
        damage = _damage_on_any_rank(place)
        if damage:
            raise UserError(damage, place=str(place), fix="choose another checkpoint")
        return place
    names, must_exist = gather(_listing(place))[0]
    for name in reversed(names):
        damage = _damage_on_any_rank(place / CHECKPOINTS / name)
        if damage is None:
            return place / CHECKPOINTS / name
        _warn("checkpoint %s is skipped: %s", name, damage)
    if names or must_exist:
        raise UserError("no valid checkpoint", place=str(place / CHECKPOINTS), fix=fix_of(place / CHECKPOINTS))
    return None


def recorded_recipe(run: Path) -> Recipe | None:
    """Return the recipe with which the newest readable checkpoint of a run was saved, or None if none states it."""
    for name in reversed(checkpoint_names(run / CHECKPOINTS)):
        with suppress(UserError, ValidationError):  # damaged, or of an earlier version with values that are now refused
            if stated := read_state(run / CHECKPOINTS / name).recipe:
                return Recipe.model_validate(stated)
    return None


def checkpoint_names(checkpoints: Path) -> list[str]:
    """Return the names of a run's checkpoints, valid or not, the oldest first."""
    steps = {path.name: step_of(path.name) for path in checkpoints.glob("step_*") if path.is_dir()}
    return sorted((name for name, step in steps.items() if step is not None), key=lambda name: steps[name] or 0)


def _listing(run: Path) -> tuple[list[str], bool]:
    """Return the names of the run's checkpoints, and whether one must exist, because `latest` names one."""
    names = checkpoint_names(run / CHECKPOINTS)
    try:
        newest = read_bounded(run / LATEST, LONGEST_NAME).decode(errors="backslashreplace").strip()
    except FileNotFoundError:
        return names, False
    except OSError as error:
        newest = error.strerror or "nothing"
    if newest not in names:
        _warn("%s names %s, which does not exist", run / LATEST, newest)
    return names, True


def _damage_on_any_rank(folder: Path) -> str | None:
    """Return the damage of a checkpoint, or None: the same result on all ranks."""
    return next((damage for damage in gather(_find_damage(folder)) if damage), None)


def _find_damage(folder: Path) -> str | None:
    """Check state.json and this rank's share of the files; return the damage, or None."""
    try:
        state = read_state(folder)
        rank, world_size = rank_and_size()
        for entry in state.files[rank::world_size]:
            beat()
            path = folder / entry.name
            if path.stat().st_size != entry.bytes:
                return f"{entry.name} has {path.stat().st_size} bytes, not {entry.bytes}"
            if sha256_of_file(path) != entry.sha256:
                return f"{entry.name} is damaged: its SHA-256 differs from {STATE}"
    except UserError as error:
        return error.cause
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    return None


def _warn(message: str, *arguments: object) -> None:
    if rank_and_size()[0] == 0:
        log.warning(message, *arguments)
