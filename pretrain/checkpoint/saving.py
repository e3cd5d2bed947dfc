"""Save checkpoints atomically by all ranks together. They can be read at any ZeRO stage and world size.

    RUN/checkpoints/step_00001000/state.json               the training state, and the digests of the other files
    RUN/checkpoints/step_00001000/rank_00000.safetensors   rank 0's part: one-dimensional fp32 tensors named
                                                           master/<parameter>@<offset>, exp_avg/…, exp_avg_sq/…
    RUN/latest                                             the name of the newest checkpoint

A checkpoint is created by renaming a hidden folder after its files are synced to disk. A save that is killed leaves the
hidden folder behind; it is ignored, and the next start removes it. So an earlier start that still runs elsewhere cannot
rename its folder once a newer start has begun (see ownership.py). A checkpoint contains no low-precision weights (they
follow from the master weights), no generator state (see `seed_for`), and no pickle.

This is our own format because those at hand do not give that. DeepSpeed's checkpoints are pickles, written in place
without a sync, and need a conversion before another world size reads them, which fails from stage 1 to stage 3.
torch.distributed.checkpoint pickles its metadata. Neither can prove that a file is what was saved.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX, atomic_write_text, sha256_of_file, sync_folder
from configs.run_layout import CHECKPOINTS, LATEST, checkpoint_name, step_of
from pretrain.checkpoint.finding import checkpoint_names
from pretrain.checkpoint.fragment_files import write_fragments
from pretrain.checkpoint.history import set_aside_checkpoints
from pretrain.checkpoint.host_fragments import HostFragments
from pretrain.checkpoint.ownership import Ownership, Superseded
from pretrain.checkpoint.state import STATE, FileEntry, TrainingState, read_state, state_text
from pretrain.engine import Engine, Fragment, gather, is_true_on_any_rank

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class PendingSave:
    """A save that has begun: where it goes, the state that it saves, and the file that this rank is writing."""

    folder: Path
    partial: Path
    state: TrainingState
    file: Future[dict[str, Any]] | None  # None: the folder could not be made
    in_background: bool


class Saver:
    """Saves the checkpoints of one start of a run. Every rank calls its methods, which are collectives.

    In the background, a save holds up training only for a copy of the rank's weights and moments on the host, which a
    thread writes. The checkpoint exists once `complete` has committed it: what a kill interrupts before is ignored.

    The newest `keep` checkpoints are kept, and also those whose step is a multiple of `keep_every_steps`, now or when
    they were saved, if that is not 0. Only rank 0's `owner` matters.
    """

    def __init__(self, engine: Engine, owner: Ownership, keep: int, keep_every_steps: int = 0) -> None:
        self._pending: PendingSave | None = None
        self._engine, self._owner = engine, owner
        self._keep, self._keep_every_steps = keep, keep_every_steps
        self._copies = HostFragments()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="save")

    def is_saving(self) -> bool:
        """Return whether a save has begun that is not complete. Not a collective: equal on all ranks."""
        return self._pending is not None

    def begin(self, state: TrainingState, *, in_background: bool) -> None:
        """Begin to save a checkpoint of `state.step`. An earlier save must be complete.

        Raises `Superseded` on every rank if a newer start owns the run.
        """
        assert self._pending is None
        folder = self._owner.run / CHECKPOINTS / checkpoint_name(state.step)
        (number,) = gather(self._owner.number)[:1]
        hidden = folder.with_name(f".{folder.name}.{number:04}{TEMPORARY_SUFFIX}")
        made = _attempt(lambda: _make_anew(self._owner, hidden) if self._is_first else None)
        state = state.model_copy(update=_description(self._engine))
        file = self._write(hidden, in_background) if made else None
        self._pending = PendingSave(folder, hidden, state, file, in_background)

    def complete(self, *, wait: bool) -> Path | None:
        """Commit the pending save, and return its folder; None if it failed, or, unless `wait`, if a rank still writes.

        If a rank cannot write (a full disk), an error is logged, and earlier checkpoints stay as they were. Later
        checkpoints, of an abandoned history, are set aside.
        """
        save = self._pending
        if save is None or (not wait and is_true_on_any_rank(save.file is not None and not save.file.done())):
            return None
        self._pending = None
        files = _attempt(save.file.result) if save.file else None
        entries = [FileEntry.model_validate(entry) for entry in files or ()]
        state = save.state.model_copy(update={"files": entries})
        commit = partial(_commit, self._owner, save.partial, save.folder, state)
        if not files or not _attempt(lambda: commit() if self._is_first else None):
            if self._is_first:
                shutil.rmtree(save.partial, ignore_errors=True)
                log.error("the checkpoint of step %d was NOT saved; training continues without it", state.step)
            return None
        if self._is_first:
            hidden = _retain(self._owner, self._keep, self._keep_every_steps)
            self._remove(hidden, in_background=save.in_background)
        return save.folder

    def _remove(self, hidden: list[Path], *, in_background: bool) -> None:
        """Remove old checkpoints, which takes long. The thread removes these only: it can run during the next save."""
        if in_background:
            for folder in hidden:
                self._thread.submit(shutil.rmtree, folder, ignore_errors=True)
        elif not self._owner.superseded_by():
            remove_unfinished(self._owner.run)

    @property
    def _is_first(self) -> bool:
        return self._engine.world.rank == 0

    def _write(self, folder: Path, in_background: bool) -> Future[dict[str, Any]]:
        path = folder / f"rank_{self._engine.world.rank:05d}.safetensors"
        fragments = self._engine.partition.saved
        if in_background:
            return self._thread.submit(_write, path, self._copies.take(fragments))
        written: Future[dict[str, Any]] = Future()
        try:
            written.set_result(_write(path, fragments))
        except (OSError, SafetensorError) as error:
            written.set_exception(error)
        return written


def save_checkpoint(
    run: Path,
    engine: Engine,
    state: TrainingState,
    keep: int,
    keep_every_steps: int = 0,
    owner: Ownership | None = None,
) -> Path | None:
    """Save a checkpoint of `state.step`, and wait until it is complete; see `Saver`. Every rank calls it."""
    saver = Saver(engine, owner or Ownership(run, 0), keep, keep_every_steps)
    saver.begin(state, in_background=False)
    return saver.complete(wait=True)


def remove_unfinished(run: Path) -> None:
    """Remove files that killed processes or earlier starts left in a run. Only the run's owner calls it."""
    for folder in (run / CHECKPOINTS).glob(f".step_*{TEMPORARY_SUFFIX}"):
        if folder.is_symlink() or folder.is_file():
            folder.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    for file in run.glob(f".*{TEMPORARY_SUFFIX}"):  # of an atomic write: `latest`, metrics.jsonl
        file.unlink(missing_ok=True)


def _attempt(action: Callable[[], T]) -> list[T] | None:
    """Run `action` on every rank and return all results by rank, or None on every rank if a write failed on one.

    The results must be values that JSON can hold.
    """
    superseded_by, done, value = None, True, None
    try:
        value = action()
    except (OSError, SafetensorError) as error:
        log.error("cannot write the checkpoint: %s", error)
        done = False
    except Superseded as error:
        superseded_by = error.number
    outcomes: list[Any] = gather((superseded_by, done, value))
    newer = [number for number, _, _ in outcomes if number is not None]
    if newer:
        raise Superseded(max(newer))
    return [value for _, _, value in outcomes] if all(done for _, done, _ in outcomes) else None


def _write(path: Path, fragments: Sequence[Fragment]) -> dict[str, Any]:
    write_fragments(path, fragments)
    return FileEntry(name=path.name, bytes=path.stat().st_size, sha256=sha256_of_file(path)).model_dump()


def _make_anew(owner: Ownership, partial: Path) -> None:
    owner.check()
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


def _commit(owner: Ownership, partial: Path, folder: Path, state: TrainingState) -> None:
    """Complete the checkpoint. First set later ones aside, so that none is taken for the newest."""
    atomic_write_text(partial / STATE, state_text(state))
    owner.check()
    if later := [name for name in checkpoint_names(folder.parent) if name >= folder.name]:
        set_aside_checkpoints(owner.run, later)
    os.replace(partial, folder)  # fails if a newer start has removed the partial folder since
    sync_folder(folder.parent)


def _retain(owner: Ownership, keep: int, keep_every_steps: int) -> list[Path]:
    """Point `latest` at the newest checkpoint and hide old ones. A failure does not affect the new checkpoint.

    Returns the hidden folders, which nobody needs.
    """
    hidden: list[Path] = []
    checkpoints = owner.run / CHECKPOINTS
    try:
        names = checkpoint_names(checkpoints)
        atomic_write_text(owner.run / LATEST, names[-1] + "\n")
        for name in names[:-keep]:
            if not _is_kept_for_good(checkpoints / name, keep_every_steps) and not owner.superseded_by():
                hidden.append(_hide(checkpoints / name))
    except OSError as error:
        log.warning("cannot update `latest` or remove old checkpoints: %s", error)
    return hidden


def _is_kept_for_good(folder: Path, keep_every_steps: int) -> bool:
    """Return whether the recipe of now, or the one with which it was saved, keeps a checkpoint for good."""
    step = step_of(folder.name) or 0
    if keep_every_steps and step % keep_every_steps == 0:
        return True
    try:
        then = read_state(folder).recipe.get("checkpoint", {}).get("keep_every_steps", 0)
    except UserError:
        return True  # unknown, so nothing is lost
    return bool(then) and step % then == 0


def _hide(folder: Path) -> Path:
    """Rename the folder so that readers ignore it at once; a removal takes longer and can be interrupted."""
    return folder.replace(folder.with_name(f".{folder.name}.old{TEMPORARY_SUFFIX}"))
