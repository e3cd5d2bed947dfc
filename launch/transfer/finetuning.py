"""`bertrain finetune`: run the trials of all seeds, print their metrics, and write the results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table

from configs.errors import UserError
from configs.files import atomic_write_text, explain_write_errors
from configs.run_layout import TENSORBOARD
from configs.tasks import TaskRecipe
from configs.transfer import FinetuneConfig, TaskConfig
from launch.terminal import console, require_package
from pretrain.huggingface import Pretrained, load_pretrained
from pretrain.transfer import (
    Spread,
    StartingPoint,
    TaskItems,
    Trial,
    board,
    defined,
    draw_learning_curve,
    make_task,
    plain,
    pretrained_start,
    read_splits,
    sizes,
    spreads,
    try_seed,
    write_answers,
    write_model,
)

EXTRA_PACKAGES = ("sklearn", "scipy", "seqeval")


def run_finetune(place: Path, recipe: TaskRecipe, output: Path, learning_curve: Sequence[int]) -> None:
    """Fine-tune the model at `place` once per seed, print metrics, and write results to the new folder `output`."""
    task, settings = recipe.task, recipe.finetune
    for package in EXTRA_PACKAGES:
        require_package(package, extra="transfer")
    source = load_pretrained(place).with_dropout(settings.dropout)
    check_length(source, settings)
    data = open_task(task, settings, source)
    with new_folder(output):
        _finetune_into(output, source, recipe, data, learning_curve)


def _finetune_into(
    output: Path, source: Pretrained, recipe: TaskRecipe, data: TaskItems, learning_curve: Sequence[int]
) -> None:
    task, settings = recipe.task, recipe.finetune
    start = pretrained_start(source)
    curve = _learning_curve(start, source, data, settings, learning_curve, output) if learning_curve else {}
    best: Trial | None = None
    trials = []
    for seed in range(settings.seeds):
        with board(output / TENSORBOARD / f"seed_{seed}") as report:
            trial = try_seed(start, source.config, data, settings, seed, report)
        write_answers(output / f"seed_{seed}", data.splits.test, trial.test)
        trials.append(trial)
        print_trial(f"seed {seed}", trial, data.task.watched)
        if best is None or _watched(trial, data) > _watched(best, data):
            best = trial
    assert best is not None
    write_model(output / "model", source, data.task, best.finetuned.model)
    summary = spreads(trials)
    content = {
        "source": str(source.place),
        "task": task.model_dump(),
        "settings": settings.model_dump(),
        "data": sizes(data),
        "test": plain(summary),
        "seeds": [_of_trial(trial) for trial in trials],
        "learning_curve": {labels: plain(of_labels) for labels, of_labels in curve.items()},
    }
    atomic_write_text(output / "report.json", json.dumps(defined(content), indent=1, ensure_ascii=False) + "\n")
    show_spreads(f"{task.name}, test, {settings.seeds} seed(s)", {str(source.place): summary})
    console().print(f"{output}: report.json, predictions and errors by seed, tb, model", markup=False)


def open_task(task: TaskConfig, settings: FinetuneConfig, source: Pretrained) -> TaskItems:
    """Read and tokenise a task's records, and print how many there are and how many were cut or dropped."""
    splits = read_splits(task)
    data = TaskItems.of(make_task(task, settings, source.vocabulary, splits.training), splits)
    say = console().print
    for name, part in sizes(data).items():
        say(f"{task.name}: {part['records']:,} records for {name}", markup=False)
        for cause, count in part["treated"].items():
            say(f"    {count:,} {cause}", markup=False)
    return data


def check_length(source: Pretrained, settings: FinetuneConfig) -> None:
    """Raise `UserError` if the model has too few positions for `finetune.max_length`."""
    most = source.config.max_position_embeddings
    if settings.max_length > most:
        cause = f"rows of {settings.max_length} tokens, but the model has {most} positions"
        raise UserError(cause, place="finetune.max_length", fix=f"set it to {most} or less")


@contextmanager
def new_folder(output: Path) -> Iterator[None]:
    """Create the folder for the block. If an error ends the block before a seed is finished, remove it again."""
    make_folder(output)
    try:
        yield
    except UserError as error:
        if not any(output.glob("seed_*")):
            shutil.rmtree(output)
            raise
        fix = f"{error.fix}; then choose another --output, because {output} contains the finished seeds"
        raise UserError(error.cause, place=error.place, fix=fix) from error


def make_folder(output: Path) -> None:
    """Create the folder. Raise `UserError` if it exists or cannot be created."""
    if output.exists():
        fix = "choose another --output, or remove it"
        raise UserError("the path exists already", place=str(output), fix=fix)
    with explain_write_errors(output):
        output.mkdir(parents=True)


def print_trial(name: str, trial: Trial, watched: str) -> None:
    """Print one trial as a line."""
    epochs = trial.finetuned.epochs
    best = max(epochs, key=lambda epoch: epoch[watched])
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in trial.test.metrics.items())
    text = f"{name}: best epoch {best['epoch']:.0f} of {len(epochs)} (validation {watched} {best[watched]:.4f})"
    console().print(f"{text}; test {figures}", markup=False)


def show_spreads(title: str, rows: dict[str, dict[str, Spread]]) -> None:
    """Print mean and standard deviation of each metric, one row per model."""
    names = list(next(iter(rows.values())))
    table = Table("", *names, title=title, box=None)
    for name, of_row in rows.items():
        table.add_row(name, *(str(of_row[metric]) for metric in names))
    console().print(table)


def _learning_curve(
    start: StartingPoint,
    source: Pretrained,
    data: TaskItems,
    settings: FinetuneConfig,
    counts: Sequence[int],
    output: Path,
) -> dict[int, dict[str, Spread]]:
    curve: dict[int, dict[str, Spread]] = {}
    for labels in counts:
        trials = [
            try_seed(start, source.config, data.few(labels, seed), settings, seed) for seed in range(settings.seeds)
        ]
        curve[labels] = spreads(trials)
        console().print(f"{labels:,} labels: {data.task.watched} {curve[labels][data.task.watched]}", markup=False)
    points = [(labels, of_labels[data.task.watched]) for labels, of_labels in curve.items()]
    draw_learning_curve(output / "learning_curve.png", data.task.watched, {source.place.name: points})
    return curve


def _watched(trial: Trial, data: TaskItems) -> float:
    return trial.finetuned.validation.metrics[data.task.watched]


def _of_trial(trial: Trial) -> dict[str, Any]:
    return {"seed": trial.seed, "test": trial.test.metrics, "epochs": trial.finetuned.epochs}
