"""Task recipes: downstream tasks of a pretrained model and their fine-tuning budgets.

`bertrain finetune` takes a recipe of one task:

[task]                   # keys as in `TaskConfig`; files are relative to this one
kind = "classify"
data = "reviews.csv"
[finetune]               # its budget; keys as in `FinetuneConfig`
seeds = 5

It also takes a recipe of several tasks, as does `bertrain evaluate --tasks`:

[finetune]               # the budget of all tasks
seeds = 5
epochs = 3

[[tasks]]
name = "reviews"
kind = "classify"
data = "reviews.csv"
test = "reviews-test.csv"
records = 1000           # records of the training file, sampled again for each seed
finetune.max_length = 64 # overrides the common budget for this task
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from configs.loading import SHIPPED, Layer, read_layers, resolve
from configs.recipe import find_recipe
from configs.schema import Recipe, Section
from configs.transfer import FinetuneConfig, TaskConfig

KIND_BY_SUFFIX = {".json": "qa", ".conll": "tag", ".conllu": "tag"}


class BudgetedTask(TaskConfig):
    """A task and its budget."""

    records: int | None = Field(
        None, ge=1, description="Number of training records, sampled again for each seed; unset: all."
    )
    finetune: FinetuneConfig = Field(
        FinetuneConfig(), description="Settings that override the common budget for this task."
    )

    def without_budget(self) -> TaskConfig:
        """Return the task alone."""
        return TaskConfig(**{name: getattr(self, name) for name in TaskConfig.model_fields})


class TaskRecipe(Section):
    """One task and its fine-tuning budget."""

    task: TaskConfig = Field(description="The labelled data and how to read it.")
    finetune: FinetuneConfig = Field(FinetuneConfig(), description="The fine-tuning budget.")


class TasksRecipe(Section):
    """Several tasks and their common budget."""

    finetune: FinetuneConfig = Field(FinetuneConfig(), description="The budget of all tasks.")
    tasks: list[BudgetedTask] = Field(min_length=1, description="The tasks, in the order of the report.")

    @model_validator(mode="before")
    @classmethod
    def _lay_tasks_over_the_common_budget(cls, table: Any) -> Any:
        tasks, common = table.get("tasks"), table.get("finetune", {})
        if not isinstance(tasks, list) or not isinstance(common, dict):
            return table  # field validation rejects it
        return table | {"tasks": [_with_budget(task, common) for task in tasks]}

    @model_validator(mode="after")
    def _names_differ(self) -> TasksRecipe:
        names = [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tasks have the name {twice[0]!r}; give each task a unique name")
        return self


def load_task(source: Path, overrides: Sequence[str] = ()) -> TaskRecipe:
    """Read a recipe of one task, or create one for a data file.

    The suffix of a data file, or an override, determines the kind of task. Raises `UserError`, which names the invalid
    key and the file or override that sets it.
    """
    layers = read_layers(source) if source.suffix.lower() == ".toml" else [_of_data(source)]
    return resolve(TaskRecipe, layers, overrides)


def load_several(source: Path, overrides: Sequence[str] = ()) -> list[BudgetedTask] | None:
    """Read the tasks of a recipe of several, given by its file or shipped name; None for anything else."""
    if source.suffix.lower() != ".toml" and (source.exists() or not (SHIPPED / f"{source}.toml").is_file()):
        return None
    path = find_recipe(source)
    return load_tasks(path, overrides) if _root_of(read_layers(path)) is TasksRecipe else None


def load_tasks(path: Path, overrides: Sequence[str] = ()) -> list[BudgetedTask]:
    """Read the tasks of a recipe of one or several tasks. Raises the same errors as `load_task`."""
    layers = read_layers(path)
    if _root_of(layers) is TaskRecipe:
        recipe = resolve(TaskRecipe, layers, overrides)
        return [BudgetedTask(**recipe.task.model_dump(), finetune=recipe.finetune)]
    return resolve(TasksRecipe, layers, overrides).tasks


def load_any(source: str | Path, overrides: Sequence[str] = ()) -> Section:
    """Load `source` as a recipe or as a task recipe, depending on its sections."""
    layers = read_layers(find_recipe(source))
    return resolve(_root_of(layers), layers, overrides)


def _of_data(file: Path) -> Layer:
    kind = KIND_BY_SUFFIX.get(file.suffix.lower())
    return Layer(file, {"task": {"name": file.stem, "data": file.name} | ({"kind": kind} if kind else {})})


def _root_of(layers: Sequence[Layer]) -> type[Section]:
    """Return the type of recipe that these files contain."""
    sections = {section for layer in layers for section in layer.table}
    if "tasks" in sections:
        return TasksRecipe
    return TaskRecipe if sections & TaskRecipe.model_fields.keys() else Recipe


def _with_budget(task: Any, common: dict[str, Any]) -> Any:
    """Return a task's table with its own budget merged over the common budget."""
    own = task.get("finetune", {}) if isinstance(task, dict) else None
    return task | {"finetune": common | own} if isinstance(own, dict) else task
