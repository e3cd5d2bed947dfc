"""`bertrain evaluate`: held-out metrics of a model and, with --tasks, its results on downstream tasks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE
from configs.loading import resolve
from configs.recipe import recipe_of_run, write_recipe
from configs.run_layout import LOGS, RECIPE
from configs.schema import Recipe, recipe_of_data
from configs.tasks import TaskRecipe, TasksRecipe, load_tasks
from launch.display import check_environment
from launch.ranks import find_run, plan_ranks, run_ranks, this_machine

DATASET = "data.dataset"
OF_TASKS = TaskRecipe.model_fields.keys() | TasksRecipe.model_fields.keys()  # sections of a task recipe


def run_evaluation(source: Path, tasks: Path | None, output: Path | None, overrides: Sequence[str] = ()) -> int:
    """Evaluate a model on held-out documents and, if `tasks` is given, on tasks. Return the exit code.

    `overrides` change settings of the tasks (`finetune.seeds=3`) and of the run (`cluster.device=cpu`). With tasks, a
    Hugging Face folder is evaluated on held-out documents only if they name a data set. `output` receives the report.
    """
    of_tasks = [one for one in overrides if one.partition(".")[0] in OF_TASKS]
    of_run = [one for one in overrides if one not in of_tasks]
    if tasks is None and of_tasks:
        raise UserError("this is a setting of tasks", place=repr(of_tasks[0]), fix="add --tasks TASKS.toml, or omit it")
    if tasks is not None and output is None:
        raise UserError("the report of the tasks needs a folder", place="--tasks", fix="add --output DIR")
    has_held_out = tasks is None or is_run(source) or bool(of_run)
    code = evaluate_held_out(source, of_run, output if tasks is None else None) if has_held_out else DONE
    if tasks is not None and output is not None and code == DONE:
        from launch.transfer.task_report import run_task_report

        run_task_report(source, load_tasks(tasks, of_tasks), output)
    return code


def is_run(place: Path) -> bool:
    """Return whether the folder is that of a run or of one of its checkpoints."""
    from pretrain.huggingface import run_of

    return (run_of(place) / RECIPE).is_file()


def evaluate_held_out(place: Path, overrides: Sequence[str] = (), output: Path | None = None) -> int:
    """Start ranks that evaluate a run (its newest checkpoint), a checkpoint, or a Hugging Face folder.

    The held-out rows are those of the run's data set, or of the one that `overrides` name. The record and the ranks'
    logs are written to `output`, or to the run's folder. Return the exit code.
    """
    if is_run(place):
        from pretrain.huggingface import run_of

        run = run_of(place)
        find_run(run)
        resume = "auto" if run == place else str(place.absolute())
        return _start_ranks(recipe_of_run(run, overrides), run, resume, overrides, output)
    with tempfile.TemporaryDirectory(prefix="bertrain-evaluate-") as folder:
        recipe = _recipe_of_model(place, overrides)
        write_recipe(recipe, Path(folder) / RECIPE)
        return _start_ranks(recipe, Path(folder), "auto", (), output)


def _start_ranks(recipe: Recipe, run: Path, resume: str, overrides: Sequence[str], output: Path | None) -> int:
    check_environment(recipe.cluster)
    arguments = ["--evaluate", "--resume", resume, *chain.from_iterable(("--set", one) for one in overrides)]
    if output is not None:
        arguments += ["--output", str(output.absolute())]
    elif not os.access(run, os.W_OK):
        fix = "write the record and the logs elsewhere: --output DIR"
        raise UserError("the run's folder cannot be written", place=str(run), fix=fix)
    commands = plan_ranks(recipe, run, arguments, this_machine(), log="evaluate", logs=output or run / LOGS)
    return run_ranks(commands)


def _recipe_of_model(place: Path, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of a run that starts from the model at `place`, with the data set that the overrides name."""
    from preprocessing.dataset import read_manifest
    from pretrain.huggingface import load_pretrained

    model = load_pretrained(place)
    settings = {key.strip(): value.strip() for key, _, value in (one.partition("=") for one in overrides)}
    if not settings.get(DATASET):
        fix = f"name a prepared one that has its vocabulary: {DATASET}=DATASET; or give --tasks"
        raise UserError("a Hugging Face folder has no held-out documents of its own", place=str(place), fix=fix)
    given = resolve(Recipe, [], overrides)
    manifest = read_manifest(given.data.dataset)
    data = recipe_of_data(manifest.recipe, given.data)
    train = given.train.model_copy(update={"initialise_from": str(place.absolute())})
    return Recipe.model_validate(
        given.model_dump()
        | {"data": data.model_dump(), "model": model.config.model_dump(), "train": train.model_dump()}
    )
