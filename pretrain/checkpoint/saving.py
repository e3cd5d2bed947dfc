"""Save checkpoints atomically by all ranks together. They can be read at any ZeRO stage and world size.

    RUN/checkpoints/step_00001000/state.json               the training state, and the digests of the other files
    RUN/checkpoints/step_00001000/rank_00000.safetensors   rank 0's part: one-dimensional fp32 tensors named
                                                           master/<parameter>@<offset>, exp_avg/…, exp_avg_sq/…
    RUN/latest                                             the name of the newest checkpoint

A checkpoint is created by renaming a hidden folder after its files are synced to disk. A save that is killed leaves the
hidden folder behind; it is ignored, and the next save removes it. A checkpoint contains no low-precision weights (they
follow from the master weights), no generator state (see `seed_for`), and no pickle.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from configs.files import TEMPORARY_SUFFIX, atomic_write_text, sha256_of_file, sync_folder
from configs.run_layout import CHECKPOINTS, LATEST, checkpoint_name, step_of
from pretrain.checkpoint.finding import checkpoint_names
from pretrain.checkpoint.fragment_files import write_fragments
from pretrain.checkpoint.state import STATE, FileEntry, TrainingState, state_text
from pretrain.engine import Engine, gather

log = logging.getLogger(__name__)
T = TypeVar("T")


def save_checkpoint(
    run: Path, engine: Engine, state: TrainingState, keep: int, keep_every_steps: int = 0
) -> Path | None:
    """Save a checkpoint of `state.step`. Every rank calls it.

    The newest `keep` checkpoints are kept, and also those whose step is a multiple of `keep_every_steps`, if that is
    not 0. Returns the checkpoint's folder. If a rank cannot write (a full disk), an error is logged, earlier
    checkpoints stay as they were, and None is returned on every rank. Checkpoints of later steps belong to an abandoned
    history and are removed.
    """
    folder = run / CHECKPOINTS / checkpoint_name(state.step)
    partial = folder.with_name(f".{folder.name}{TEMPORARY_SUFFIX}")
    first = engine.world.rank == 0
    made = _attempt(lambda: _make_anew(partial) if first else None)
    files = _attempt(lambda: _write(partial, engine)) if made else None
    state = state.model_copy(update=_description(engine) | {"files": files})
    if not files or not _attempt(lambda: _commit(partial, folder, state) if first else None):
        if first:
            shutil.rmtree(partial, ignore_errors=True)
            log.error("the checkpoint of step %d was NOT saved; training continues without it", state.step)
        return None
    if first:
        _retain(run, keep, keep_every_steps)
    return folder


def remove_unfinished(run: Path) -> None:
    """Remove files that killed processes left in a run. No process may be training it."""
    for folder in (run / CHECKPOINTS).glob(f".step_*{TEMPORARY_SUFFIX}"):
        shutil.rmtree(folder, ignore_errors=True)
    for file in run.glob(f".*{TEMPORARY_SUFFIX}"):  # of an atomic write: `latest`, metrics.jsonl
        file.unlink(missing_ok=True)


def _attempt(action: Callable[[], T]) -> list[T] | None:
    """Run `action` on every rank and return all results by rank, or None on every rank if a write failed on one."""
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
    """Complete the checkpoint. First hide the checkpoints that it supersedes, so that none is taken for the newest."""
    atomic_write_text(partial / STATE, state_text(state))
    for name in checkpoint_names(folder.parent):
        if name >= folder.name:
            _hide(folder.parent / name)
    os.replace(partial, folder)
    sync_folder(folder.parent)


def _retain(run: Path, keep: int, keep_every_steps: int) -> None:
    """Point `latest` at the newest checkpoint and remove old ones. A failure does not affect the new checkpoint."""
    try:
        names = checkpoint_names(run / CHECKPOINTS)
        atomic_write_text(run / LATEST, names[-1] + "\n")
        for name in names[:-keep]:
            if not (keep_every_steps and (step_of(name) or 0) % keep_every_steps == 0):
                _hide(run / CHECKPOINTS / name)
    except OSError as error:
        log.warning("cannot update `latest` or remove old checkpoints: %s", error)
    remove_unfinished(run)


def _hide(folder: Path) -> None:
    """Rename the folder so that readers ignore it at once; a removal takes longer and can be interrupted."""
    os.replace(folder, folder.with_name(f".{folder.name}.old{TEMPORARY_SUFFIX}"))
