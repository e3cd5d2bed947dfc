"""`bertrain finetune`: run the trials of all seeds, print their metrics, and write the results seed by seed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.machine import require_package
from configs.run_layout import TENSORBOARD
from configs.tasks import BudgetedTask, TaskRecipe
from launch.terminal import console, plain_table
from launch.transfer.seeds import Seeds, identity_of, open_seeds
from launch.transfer.task_data import open_task
from pretrain.huggingface import Pretrained, load_pretrained
from pretrain.transfer import (
    SECOND,
    SECOND_TEST,
    Spread,
    StartingPoint,
    TaskItems,
    Trial,
    board,
    check_settings,
    defined,
    draw_learning_curve,
    plain,
    reloading_start,
    sizes,
    spreads,
    try_seed,
    write_answers,
    write_model,
    write_task_card,
)

EXTRA_PACKAGES = ("sklearn", "scipy", "seqeval")


def run_finetunes(place: Path, tasks: Sequence[BudgetedTask], output: Path) -> None:
    """Fine-tune on each task, in a folder of its name, and print one table with the mean over the tasks."""
    tests = {}
    for task in tasks:
        recipe = TaskRecipe(task=task.without_budget(), finetune=task.finetune)
        tests[task.name] = run_finetune(place, recipe, output / task.name, [])
    table = plain_table("task", "metric", "result", "published")
    rows = [table_rows(task, tests[task.name]) for task in tasks]
    for name, metric, result, published in chain.from_iterable(rows):
        table.add_row(name, metric, str(result), "" if published is None else f"{published:.4f}")
    mean = fmean(fmean(result.mean for _, _, result, _ in of_task) for of_task in rows)
    given = [[published for *_, published in of_task if published is not None] for of_task in rows]
    complete = all(len(of_task) == len(all_rows) for of_task, all_rows in zip(given, rows, strict=True))
    table.add_row("mean", "", f"{mean:.4f}", f"{fmean(map(fmean, given)):.4f}" if complete else "")
    console().print(table)


def table_rows(task: BudgetedTask, tests: dict[str, Spread]) -> list[tuple[str, str, Spread, float | None]]:
    """Return the rows of a task in the table of several: name, metric, result, published value; one for each test file.

    The mean over the tasks counts the mean of a task's rows once, as GLUE does for MNLI.
    """
    metric, result = next(iter(tests.items()))
    rows = [(task.name, metric, result, task.published)]
    if task.second_test is not None:
        name = f"{task.name}, {Path(task.second_test).stem}"
        rows.append((name, metric, tests[f"{SECOND}{metric}"], task.second_published))
    return rows


def run_finetune(place: Path, recipe: TaskRecipe, output: Path, learning_curve: Sequence[int]) -> dict[str, Spread]:
    """Fine-tune the model at `place` once per seed, print metrics, and write results to the folder `output`.

    The same command resumes after the last seed that is done. Return the test metrics, the watched one first.
    """
    for package in EXTRA_PACKAGES:
        require_package(package)
    source = load_pretrained(place).with_dropout(recipe.finetune.dropout)
    task, settings = recipe.task, recipe.finetune.fitted_to(source.config.max_position_embeddings)
    recipe = TaskRecipe(task=task, finetune=settings)
    check_settings(settings, source.config)
    data = open_task(task, settings, source)
    check_curve(learning_curve, data)
    identity = identity_of(source, recipe, data.splits)
    start = reloading_start(source)
    source = replace(source, weights={})  # read again for each seed, so that they need no memory during training
    with open_seeds(output, identity) as seeds:
        curve = _learning_curve(start, source, data, recipe, learning_curve, seeds)
        results: list[dict[str, Any]] = []
        for seed in range(settings.seeds):
            results.append(_seed(seed, start, source, data, recipe, seeds, results))
    summary = _watched_first(spreads([result["test"] for result in results]), data)
    best = max(results, key=lambda result: (result["validation"], -result["seed"]))
    write_task_card(output / "model", place, recipe, data, summary, best["seed"])
    content = {
        "source": str(place),
        "task": task.model_dump(),
        "settings": settings.model_dump(),
        "data": sizes(data),
        "metric": data.task.watched,
        "test": plain(summary),
        "seeds": results,
        "learning_curve": {labels: plain(of_labels) for labels, of_labels in curve.items()},
    }
    atomic_write_text(output / "report.json", json.dumps(defined(content), indent=1, ensure_ascii=False) + "\n")
    show_spreads(f"{task.name}, test, {settings.seeds} seed(s)", summary)
    console().print(f"{output}: report.json, predictions and errors by seed, tb, model", markup=False)
    return summary


def check_curve(counts: Sequence[int], data: TaskItems) -> None:
    """Raise `UserError` for a learning curve with more labels than there are training records."""
    if counts and max(counts) > len(data.splits.training):
        cause = f"{max(counts):,} labels, but there are {len(data.splits.training):,} training records"
        raise UserError(cause, place="--learning-curve", fix="give numbers up to this")


def print_trial(name: str, result: dict[str, Any], watched: str) -> None:
    """Print one trial's result as a line."""
    epochs = result["epochs"]
    best = max(epochs, key=lambda epoch: epoch[watched])
    figures = ", ".join(f"{metric} {value:.4f}" for metric, value in result["test"].items())
    text = f"{name}: best epoch {best['epoch']:.0f} of {len(epochs)} (validation {watched} {best[watched]:.4f})"
    console().print(f"{text}; test {figures}", markup=False)
    if result["only"]:
        warning = f"warning: {name} predicts {result['only']!r} for all test records; it may need other settings"
        console().print(warning, markup=False)


def show_spreads(title: str, summary: dict[str, Spread]) -> None:
    """Print mean and standard deviation of each metric."""
    console().print(f"{title}:", markup=False)
    table = plain_table("metric", "mean ± deviation")
    for metric, spread in summary.items():
        table.add_row(metric, str(spread))
    console().print(table)


def _seed(
    seed: int,
    start: StartingPoint,
    source: Pretrained,
    data: TaskItems,
    recipe: TaskRecipe,
    seeds: Seeds,
    earlier: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return the result of a seed, from its file or by training; write the model if it is the best so far."""
    name, folder = f"seed_{seed}", seeds.folder
    result = seeds.result(name)
    if result is None:
        shutil.rmtree(folder / TENSORBOARD / name, ignore_errors=True)  # of a start that was stopped in this seed
        with board(folder / TENSORBOARD / name) as report:
            trial = try_seed(start, source.config, data, recipe.finetune, seed, report)
        write_answers(folder / name, data.splits.test, trial.test)
        if data.splits.second_test is not None and trial.second_test is not None:
            write_answers(folder / name / SECOND_TEST, data.splits.second_test, trial.second_test)
        result = result_of(trial, data.task.watched)
        if all(result["validation"] > other["validation"] for other in earlier):
            write_model(folder / "model", source, recipe, trial.finetuned.task, trial.finetuned.model)
        seeds.save(name, result)
    print_trial(f"seed {seed}", result, data.task.watched)
    return result


def result_of(trial: Trial, watched: str) -> dict[str, Any]:
    """Return what is kept of a trial."""
    tuned = trial.finetuned.task.state().get("threshold")
    return {
        "seed": trial.seed,
        "validation": trial.finetuned.validation.metrics[watched],
        "test": trial.metrics,
        "only": trial.test.only,
        "epochs": trial.finetuned.epochs,
        **({} if tuned is None else {"threshold": tuned}),
    }


def _learning_curve(
    start: StartingPoint,
    source: Pretrained,
    data: TaskItems,
    recipe: TaskRecipe,
    counts: Sequence[int],
    seeds: Seeds,
) -> dict[int, dict[str, Spread]]:
    """Train on subsets of these sizes; each trial is written when it is done."""
    watched, curve = data.task.watched, {}
    for labels in counts:
        trial_of = partial(_subset, labels, start, source, data, recipe, seeds)
        curve[labels] = spreads([trial_of(seed) for seed in range(recipe.finetune.seeds)])
        console().print(f"{labels:,} labels: {watched} {curve[labels][watched]}", markup=False)
    if curve:
        points = [(labels, of_labels[watched]) for labels, of_labels in curve.items()]
        draw_learning_curve(seeds.folder / "learning_curve.png", watched, {source.place.name: points})
    return curve


def _subset(
    labels: int,
    start: StartingPoint,
    source: Pretrained,
    data: TaskItems,
    recipe: TaskRecipe,
    seeds: Seeds,
    seed: int,
) -> dict[str, float]:
    name = f"learning_curve/{labels}_labels_seed_{seed}"
    result = seeds.result(name)
    if result is None:
        trial = try_seed(start, source.config, data.few(labels, seed), recipe.finetune, seed)
        result = result_of(trial, data.task.watched)
        seeds.save(name, result)
    figures: dict[str, float] = result["test"]
    return figures


def _watched_first(summary: dict[str, Spread], data: TaskItems) -> dict[str, Spread]:
    watched = data.task.watched
    return {watched: summary[watched], **summary}
