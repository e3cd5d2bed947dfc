"""The folder of a run, `<runs>/<name>/`: who may train in it, and with which recipe.

    recipe.toml     the resolved recipe, each key under its documentation; all that the ranks read
    logs/           what each rank printed
    .lock           held while a command trains here; names the process

A run that has a checkpoint is continued by the same recipe, or by one that differs only where that does not change
what has been learned: where it runs, how it saves and shows, how far it goes.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.recipe import load_recipe, resolved_toml, write_recipe
from configs.run_layout import CHECKPOINTS, LOCK, RECIPE
from configs.schema import Recipe

# What may change between two starts of one run: whole sections, and single keys.
FREE = (
    "name",
    "runs",
    "cluster",
    "checkpoint",
    "optimizer.decay",
    "optimizer.decay_power",
    "optimizer.decay_steps",
    "train.steps",
    "train.budget_min",
    "train.zero_stage",
    "train.micro_batch_size",
    "train.activation_checkpointing",
    "train.kernels",
    "train.offload_optimizer",
    "train.profile_steps",
    "train.log_every_steps",
    "train.evaluate_every_steps",
    "train.evaluate_rows",
    "train.max_skipped_steps",
    "train.skip_loss_spikes",
    "train.mixture",  # a checkpoint knows the data sets and their shares by digest
    "train.stage_in",
    "train.stage_gib",
)


def run_folder_of(recipe: Recipe) -> Path:
    """Where the recipe's run lies."""
    return Path(recipe.runs) / recipe.name


@contextmanager
def open_run(recipe: Recipe, resume: str, *, for_child: bool = False) -> Iterator[Path]:
    """Make or reopen the folder of `recipe`'s run, write the recipe into it, and keep other commands out.

    `resume` is `auto`, `never` or a checkpoint's folder; with `for_child` the lock passes on to what this process
    executes in its own place. What a run has learned is set aside by `never`. Raises `UserError` when the folder holds
    something else, or a run of another recipe, and when another command trains in it.
    """
    run = run_folder_of(recipe)
    if resume not in ("auto", "never") and not Path(resume).is_dir():
        raise UserError("no such checkpoint", place=resume, fix="give its folder, or --resume auto")
    if run.exists() and not _may_be_run(run):
        raise UserError("this is not a run", place=str(run), fix="give the run another name: name=…")
    with explain_write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    with _locked(run, for_child):
        if resume == "never":
            from pretrain.checkpoint import (
                set_aside,  # here, so that planning a start on a login node imports no trainer
            )

            set_aside(run)  # before the recipe changes: what was learned by another must not be gone on from
        _check_continues(run, _anchored(recipe))
        with explain_write_errors(run):
            write_recipe(_anchored(recipe), run / RECIPE)
        yield run


def await_recipe(recipe: Recipe, patience_s: float = 60.0) -> Path:
    """For ranks other than the first: wait until that one has opened the folder; returns it."""
    run = run_folder_of(recipe)
    expected = resolved_toml(_anchored(recipe))
    deadline = time.monotonic() + patience_s
    while not (run / RECIPE).is_file() or (run / RECIPE).read_text(encoding="utf-8") != expected:
        if time.monotonic() > deadline:
            fix = "start all ranks with the same arguments, on a file system that they share"
            raise UserError("rank 0 has not written this recipe", place=str(run / RECIPE), fix=fix)
        time.sleep(0.1)
    return run


def find_run(run: Path) -> Recipe:
    """The recipe of a run that was started; `UserError` when `run` is not one."""
    if not (run / RECIPE).is_file():
        raise UserError("no such run", place=str(run), fix="give the folder of a run, e.g. runs/demo")
    return load_recipe(run / RECIPE)


def process_training_in(run: Path) -> tuple[int, str] | None:
    """The process and machine that train in a run's folder on this machine's file systems; None when nobody does."""
    file = run / LOCK
    if not file.exists():
        return None
    with file.open(encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            match = re.match(r"process (\d+) on (\S+)", stream.read())
            return (int(match[1]), match[2]) if match else None
    return None


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys, with old and new value, whose difference makes another run."""
    before, after = _learned_from(old), _learned_from(new)
    keys = sorted(before.keys() | after.keys())
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _may_be_run(run: Path) -> bool:
    return (run / RECIPE).is_file() or (run.is_dir() and all(file.name == LOCK for file in run.iterdir()))


@contextmanager
def _locked(run: Path, for_child: bool) -> Iterator[None]:
    """The kernel frees the lock when its holder ends, however it ends."""
    with explain_write_errors(run):
        stream = (run / LOCK).open("a+", encoding="utf-8")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            cause = f"another command trains here: {stream.read().strip()}"
            raise UserError(cause, place=str(run), fix="stop it, or wait for its end") from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        os.set_inheritable(stream.fileno(), for_child)
        yield


def _check_continues(run: Path, recipe: Recipe) -> None:
    if not any(run.glob(f"{CHECKPOINTS}/step_*")):
        return  # nothing learned yet, nothing to lose
    changed = differences(load_recipe(run / RECIPE), recipe)
    if changed:
        keys = ", ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in changed.items())
        fix = "take these changes back, or give the new run a name of its own: name=…"
        raise UserError(f"this is a run of another recipe: {keys}", place=str(run), fix=fix)


def _anchored(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths of its data sets and of the weights it starts from: right from any folder."""
    data, train = recipe.data, recipe.train
    data = data.model_copy(update={"dataset": _absolute(data.dataset)})
    mixture = [entry.model_copy(update={"dataset": _absolute(entry.dataset)}) for entry in train.mixture]
    train = train.model_copy(update={"mixture": mixture})
    if train.initialise_from:
        train = train.model_copy(update={"initialise_from": _absolute(train.initialise_from)})
    return recipe.model_copy(update={"data": data, "train": train})


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _learned_from(recipe: Recipe) -> dict[str, Any]:
    """Flat keys and values of all that is not `FREE`; of `[data]`, what determines a data set's bytes."""
    table = _flat(recipe.model_dump() | {"data": recipe.data.byte_fields()})
    return {key: value for key, value in table.items() if not any(f"{key}.".startswith(f"{free}.") for free in FREE)}


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
