"""The run folder, `<runs>/<name>/`: creates or reopens it for a new start, and checks which recipe can resume the run.

    recipe.toml     the resolved recipe with the documentation of each key; the only file that configures the ranks
    logs/           output of each rank
    starts/         one folder per start; the newest owns the run
    .lock           locked while a command trains here; contains the process. A courtesy, which some file systems lack

A run with a checkpoint resumes only with a recipe that trains the same model: the recipe can differ in where the run
executes, how it saves and reports, how long it trains, and how fast it learns from the resumed step on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import explain_write_errors, not_through_links, open_regular
from configs.machine import SHARED, lock
from configs.recipe import recipe_of_run, run_toml, write_recipe
from configs.run_layout import CHECKPOINTS, LOCK, RECIPE, STARTS
from configs.schema import Recipe
from launch.ranks.starts import Start, begin_start, this_process

LONGEST_HOLDER = 255  # bytes of `.lock` that are read

# Sections and keys that can change between two starts of a run.
FREE = (
    "name",
    "runs",
    "cluster",
    "checkpoint",
    "optimizer.learning_rate",
    "optimizer.gradient_clipping",
    "optimizer.decay",
    "optimizer.decay_power",
    "optimizer.decay_steps",
    "optimizer.decay_from_step",
    "optimizer.decay_from_rate",
    "optimizer.minimum_learning_rate",
    "train.steps",
    "train.epochs",
    "train.tokens",
    "train.budget_min",
    "train.zero_stage",
    "train.micro_batch_size",
    "train.micro_batch_tokens",
    "train.activation_checkpointing",
    "train.kernels",
    "train.offload_optimizer",
    "train.profile_steps",
    "train.log_every_steps",
    "train.evaluate_every_steps",
    "train.evaluate_rows",
    "train.max_skipped_steps",
    "train.skip_loss_spikes",
    "train.mixture",  # a checkpoint identifies the data sets and their shares by digest
    "train.stage_in",
    "train.stage_gib",
)


def run_folder_of(recipe: Recipe) -> Path:
    """Return the folder of the recipe's run."""
    return Path(recipe.runs) / recipe.name


@contextmanager
def open_run(recipe: Recipe, *, for_child: bool = False) -> Iterator[Path]:
    """Create or reopen the folder of `recipe`'s run, and write the recipe into it, to start the run later.

    Inside the block the folder is locked against other commands. With `for_child`, the program that this process
    executes next keeps the lock. Raises `UserError` if the folder is not a run, if it is a run of another recipe, or if
    another command trains in it.
    """
    run = _made_folder(recipe)
    with _locked(run, for_child):
        _check_continues(run, _anchored(recipe))
        _write_recipe(run, recipe)
        yield run


@contextmanager
def begin_run(
    recipe: Recipe, resume: str, *, ranks: int, nodes: Sequence[str] = (), for_child: bool = False
) -> Iterator[Start]:
    """Open the run as `open_run` does, and begin a start, which owns the run from then on.

    `resume` is `auto`, `never` or a checkpoint folder; `never` moves earlier checkpoints and metrics aside.
    """
    if resume not in ("auto", "never") and not Path(resume).is_dir():
        raise UserError("no such checkpoint", place=resume, fix="give a checkpoint folder, or --resume auto")
    run = _made_folder(recipe)
    with _locked(run, for_child):
        if resume != "never":
            _check_continues(run, _anchored(recipe))
        start = begin_start(run, this_process(), is_first=True, nodes=nodes or [os.uname().nodename], ranks=ranks)
        if resume == "never":
            from pretrain.checkpoint import set_aside  # here, so that submitting a job does not import the trainer

            set_aside(run)  # before the recipe changes, so that no start resumes another recipe's checkpoint
        _write_recipe(run, recipe)
        yield start


def await_recipe(recipe: Recipe, patience_s: float = 60.0) -> Path:
    """On ranks other than 0: wait until rank 0 has opened the run folder, and return the folder."""
    run = run_folder_of(recipe)
    expected = run_toml(_anchored(recipe))
    deadline = time.monotonic() + patience_s
    while not (run / RECIPE).is_file() or (run / RECIPE).read_text(encoding="utf-8") != expected:
        if time.monotonic() > deadline:
            fix = "start all ranks with the same arguments, on a shared file system"
            raise UserError("rank 0 has not written this recipe", place=str(run / RECIPE), fix=fix)
        time.sleep(0.1)
    return run


def check_is_run(run: Path) -> None:
    """Raise `UserError` if `run` is not a run folder."""
    if not (run / RECIPE).is_file():
        raise UserError("no such run", place=str(run), fix="give a run folder, e.g. runs/demo")


def find_run(run: Path) -> Recipe:
    """Return the recipe of a run. Raise `UserError` if `run` is not a run folder, or if its recipe is damaged."""
    check_is_run(run)
    return recipe_of_run(run)


def process_training_in(run: Path) -> tuple[int, str] | None:
    """Return the process and machine that hold the lock of a run folder.

    None if no command trains there, or if that cannot be seen, because the file system has no locks.
    """
    try:
        stream = open_regular(run / LOCK)
    except OSError:
        return None
    with stream:
        try:
            lock(stream, SHARED)
        except BlockingIOError:
            match = re.match(rb"process (\d+) on (\S+)", stream.read(LONGEST_HOLDER))
            return (int(match[1]), match[2].decode(errors="replace")) if match else None
    return None


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the keys whose change makes it another run, with their old and new values."""
    before, after = _learned_from(old), _learned_from(new)
    keys = sorted(before.keys() | after.keys())
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _made_folder(recipe: Recipe) -> Path:
    run = run_folder_of(recipe)
    if run.exists() and not _is_run_or_empty(run):
        raise UserError("the folder is not a run", place=str(run), fix="give the run another name: name=…")
    with explain_write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    return run


def _write_recipe(run: Path, recipe: Recipe) -> None:
    with explain_write_errors(run):
        write_recipe(_anchored(recipe), run / RECIPE)


def _is_run_or_empty(run: Path) -> bool:
    return (run / RECIPE).is_file() or (run.is_dir() and all(file.name in (LOCK, STARTS) for file in run.iterdir()))


@contextmanager
def _locked(run: Path, for_child: bool) -> Iterator[None]:
    """Hold the lock, if there are locks. The kernel releases it when the process ends, in any way."""
    with explain_write_errors(run):
        stream = open(run / LOCK, "a+", encoding="utf-8", opener=not_through_links)  # noqa: SIM115 (closed below)
    with stream:
        try:
            lock(stream)
        except BlockingIOError:
            stream.seek(0)
            cause = f"another command trains here: {stream.read().strip()}"
            raise UserError(cause, place=str(run), fix="stop it, or wait until it ends") from None
        stream.truncate(0)
        stream.write(this_process() + "\n")
        stream.flush()
        os.set_inheritable(stream.fileno(), for_child)
        yield


def has_locks(run: Path) -> bool:
    """Return whether the file system of a run has locks."""
    with open(run / LOCK, "a+", encoding="utf-8", opener=not_through_links) as stream:
        try:
            return lock(stream, SHARED)
        except BlockingIOError:
            return True


@contextmanager
def hold_lock(run: Path) -> Iterator[None]:
    """Hold the lock of a run inside the block, if it is free and can be written."""
    with ExitStack() as stack:
        with suppress(OSError, UserError):
            stack.enter_context(_locked(run, for_child=False))
        yield


def _check_continues(run: Path, recipe: Recipe) -> None:
    if not any(run.glob(f"{CHECKPOINTS}/step_*")):
        return  # no checkpoint yet: any recipe can start
    changed = differences(_recipe_before(run), recipe)
    if changed:
        keys = ", ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in changed.items())
        fix = "revert these changes, or give the new run another name: name=…"
        raise UserError(f"this is a run of another recipe: {keys}", place=str(run), fix=fix)


def _recipe_before(run: Path) -> Recipe:
    """Return the recipe in the run's folder, or, if that is damaged, the one of its newest checkpoint."""
    try:
        return recipe_of_run(run)
    except UserError as damaged:
        from pretrain.checkpoint import recorded_recipe  # here, so that submitting a job does not import the trainer

        if found := recorded_recipe(run):
            return found
        cause = f"{damaged.cause}, and no checkpoint of the run states its recipe"
        raise UserError(cause, place=damaged.place, fix=damaged.fix) from None


def _anchored(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths to its data sets and initial weights, so that it works from any folder."""
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
    """Return the flat keys and values that are not `FREE`. `open_data` compares `[data]` with the data set."""
    table = _flat(recipe.model_dump(exclude={"data"}))
    if recipe.train.global_batch_tokens:  # which determine it, once the data set is there
        del table["train.global_batch_size"]
    return {key: value for key, value in table.items() if not any(f"{key}.".startswith(f"{free}.") for free in FREE)}


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
