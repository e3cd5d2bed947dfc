"""Checkpoints: written by all ranks together, whole or not at all; read at any ZeRO stage and world size.

    RUN/checkpoints/step_00001000/state.json               where training is, and the digests of the files beside it
    RUN/checkpoints/step_00001000/rank_00000.safetensors   what rank 0 saved: fp32 tensors of one dimension, named
                                                           master/<parameter>@<offset>, exp_avg/…, exp_avg_sq/…
    RUN/latest                                             the newest one's name

A checkpoint comes to be when a hidden folder, its files synced to disk, is renamed. A save that is killed leaves that
folder, which counts for nothing and which the next save removes. There is no low-precision copy in it (it follows from
the master weights), no generator's state (see `seed_for`) and no pickle.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX, atomic_write_text, sha256_of_file, sync_folder
from configs.run_layout import CHECKPOINTS, LATEST
from pretrain.checkpoint.fragment_files import SavedFragments, open_fragments, write_fragments
from pretrain.checkpoint.state import FORMAT_VERSION, FileEntry, Shapes, TrainingState
from pretrain.engine import KINDS, Engine, beat, gather, rank_and_size

STATE = "state.json"
RESUME_MEND = "resume from another checkpoint with --resume PATH, or start anew with --resume never"

log = logging.getLogger(__name__)
T = TypeVar("T")


def save_checkpoint(
    run: Path, engine: Engine, state: TrainingState, keep: int, keep_every_steps: int = 0
) -> Path | None:
    """Save a checkpoint of `state.step`. Every rank calls it.

    The newest `keep` stay, and for good those whose step is a multiple of `keep_every_steps`, if that is not 0.
    Returns its folder; or None on every rank, after an error in the log, when some rank could not write (a full disk):
    then all that was there before is there, and nothing else. A checkpoint of a later step is of a history that was
    given up, and goes.
    """
    folder = run / CHECKPOINTS / f"step_{state.step:08d}"
    partial = folder.with_name(f".{folder.name}{TEMPORARY_SUFFIX}")
    first = engine.world.rank == 0
    made = _attempt(lambda: _make_anew(partial) if first else None)
    files = _attempt(lambda: _write(partial, engine)) if made else None
    state = state.model_copy(update=_description(engine) | {"files": files})
    if not files or not _attempt(lambda: _commit(partial, folder, state) if first else None):
        if first:
            shutil.rmtree(partial, ignore_errors=True)
            log.error("the checkpoint of step %d was NOT saved; training goes on without it", state.step)
        return None
    if first:
        _retain(run, keep, keep_every_steps)
    return folder


def has_checkpoint(run: Path) -> bool:
    """Whether a run has a checkpoint, or should have: training then goes on from one, or not at all."""
    names, promised = _listing(run)
    return promised or bool(names)


def find_checkpoint(place: Path) -> Path | None:
    """The newest valid checkpoint of the run in the folder `place`; None when it has none at all. Every rank calls it.

    Every file's digest is checked, shared out among the ranks. A damaged checkpoint is passed over, with a warning,
    for the one before; `UserError` when none is left. `place` may also be the folder of one checkpoint, which is then
    the answer, or damaged and a `UserError`.
    """
    if not place.is_dir():
        raise UserError("no such run or checkpoint", place=str(place), fix="give a folder of one of them")
    if place.name.startswith("step_"):
        fault = _fault(place)
        if fault:
            raise UserError(fault, place=str(place), fix="choose another checkpoint")
        return place
    names, promised = gather(_listing(place))[0]
    for name in reversed(names):
        fault = _fault(place / CHECKPOINTS / name)
        if fault is None:
            return place / CHECKPOINTS / name
        _warn("checkpoint %s is passed over: %s", name, fault)
    if names or promised:
        raise UserError("there is no valid checkpoint", place=str(place / CHECKPOINTS), fix=RESUME_MEND)
    return None


def load_checkpoint(folder: Path, engine: Engine) -> TrainingState:
    """Give the engine a checkpoint's weights and moments, whatever stage and world size saved it. Every rank calls it.

    Each rank reads what it needs of any file. The digests are `find`'s affair. `UserError` when a parameter is missing,
    not the model's, of another shape, or not there exactly once.
    """
    state = read_state(folder)
    _check_parameters(folder, state.parameters, engine.shapes)
    with _open(folder, state) as saved:
        for fragment in engine.partition.fragments:
            beat()
            for kind in KINDS:
                saved.read(kind, fragment.name, fragment.offset, getattr(fragment, kind))
    engine.set_optimizer_steps(state.optimizer_steps)
    engine.set_loss_scale(state.loss_scale)
    engine.partition.refresh()
    return state


def load_weights(folder: Path) -> dict[str, Tensor]:
    """A checkpoint's whole parameters, fp32, by name: for export, evaluation, or the start of another run."""
    state = read_state(folder)
    weights = {name: torch.empty(shape) for name, shape in state.parameters.items()}
    with _open(folder, state) as saved:
        for name, weight in weights.items():
            saved.read("master", name, 0, weight.view(-1))
    return weights


def read_state(folder: Path) -> TrainingState:
    """A checkpoint's state.json; `UserError` when there is none, or it is not of this version."""
    path = folder / STATE
    try:
        state = TrainingState.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"no checkpoint: {STATE}: {error.strerror}", place=str(folder), fix=RESUME_MEND) from error
    except ValidationError as error:
        raise UserError(f"{STATE} is damaged, or of another version", place=str(folder), fix=RESUME_MEND) from error
    if state.format_version != FORMAT_VERSION:
        cause = f"format version {state.format_version}, but this bertrain reads {FORMAT_VERSION}"
        raise UserError(cause, place=str(path), fix=RESUME_MEND)
    return state


def _open(folder: Path, state: TrainingState) -> AbstractContextManager[SavedFragments]:
    sizes = {name: math.prod(shape) for name, shape in state.parameters.items()}
    return open_fragments([folder / entry.name for entry in state.files], sizes)


def remove_unfinished(run: Path) -> None:
    """Remove what killed processes have left in a run that nobody is training now."""
    for folder in (run / CHECKPOINTS).glob(f".step_*{TEMPORARY_SUFFIX}"):
        shutil.rmtree(folder, ignore_errors=True)
    for file in run.glob(f".*{TEMPORARY_SUFFIX}"):  # of an atomic write: `latest`, metrics.jsonl
        file.unlink(missing_ok=True)


def _attempt(action: Callable[[], T]) -> list[T] | None:
    """Do something on every rank: what came of it, by rank; or None on all when a file could not be written on one."""
    try:
        outcome: tuple[bool, T | None] = True, action()
    except (OSError, SafetensorError) as error:
        log.error("cannot write the checkpoint: %s", error)
        outcome = False, None
    outcomes: list[Any] = gather(outcome)
    return [value for _, value in outcomes] if all(done for done, _ in outcomes) else None


def _write(partial: Path, engine: Engine) -> FileEntry:
    path = partial / f"rank_{engine.world.rank:05d}.safetensors"
    write_fragments(path, engine.partition.saved)
    return FileEntry(name=path.name, bytes=path.stat().st_size, sha256=sha256_of_file(path))


def _make_anew(partial: Path) -> None:
    partial.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(partial.parent.parent)
    partial.mkdir()


def _description(engine: Engine) -> dict[str, Any]:
    return {
        "optimizer_steps": engine.optimizer_steps,
        "loss_scale": engine.loss_scale,
        "world_size": engine.world.world_size,
        "zero_stage": engine.zero_stage,
        "parameters": engine.shapes,
    }


def _commit(partial: Path, folder: Path, state: TrainingState) -> None:
    """Declare the checkpoint whole. What it supersedes is hidden before, so that it is never taken for the newest."""
    atomic_write_text(partial / STATE, state.model_dump_json(indent=1) + "\n")
    for name in _names(folder.parent):
        if name >= folder.name:
            _hide(folder.parent / name)
    os.replace(partial, folder)
    sync_folder(folder.parent)


def _retain(run: Path, keep: int, keep_every_steps: int) -> None:
    """Point `latest` at the newest checkpoint and remove the old. The checkpoint stands even if this fails."""
    try:
        names = _names(run / CHECKPOINTS)
        atomic_write_text(run / LATEST, names[-1] + "\n")
        for name in names[:-keep]:
            if not (keep_every_steps and int(name.removeprefix("step_")) % keep_every_steps == 0):
                _hide(run / CHECKPOINTS / name)
    except OSError as error:
        log.warning("cannot put the checkpoints in order: %s", error)
    remove_unfinished(run)


def _hide(folder: Path) -> None:
    """Out of every reader's sight at once, whereas a removal takes its time and may be killed in the middle."""
    os.replace(folder, folder.with_name(f".{folder.name}.old{TEMPORARY_SUFFIX}"))


def _names(checkpoints: Path) -> list[str]:
    """Names of a run's checkpoints, whole or not, the oldest first."""
    return sorted(path.name for path in checkpoints.glob("step_*") if path.is_dir())


def _listing(run: Path) -> tuple[list[str], bool]:
    """The run's checkpoints, and whether there must be one."""
    names = _names(run / CHECKPOINTS)
    try:
        newest = (run / LATEST).read_text().strip()
    except FileNotFoundError:
        return names, False
    if newest not in names:
        _warn("%s names %s, which is not there", run / LATEST, newest)
    return names, True


def _fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint, the same answer on all ranks; None when nothing is."""
    return next((fault for fault in gather(_find_fault(folder)) if fault), None)


def _find_fault(folder: Path) -> str | None:
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


def _check_parameters(folder: Path, saved: Shapes, wanted: Shapes) -> None:
    differences = {
        "the model has and the checkpoint lacks": sorted(wanted.keys() - saved.keys()),
        "the checkpoint has and the model lacks": sorted(saved.keys() - wanted.keys()),
        "differ in shape": sorted(name for name in wanted.keys() & saved.keys() if wanted[name] != saved[name]),
    }
    for difference, names in differences.items():
        if names:
            cause = f"parameters that {difference}: {', '.join(names)}"
            raise UserError(cause, place=str(folder), fix="resume with the recipe that saved it")
