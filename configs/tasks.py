"""tasks.toml: the downstream tasks that a pretrained model is evaluated on, and the budget of each.

[finetune]               # the budget of all tasks; each key as in `FinetuneConfig`
seeds = 5
epochs = 3

[[tasks]]                # a task; each key as in `TaskConfig`, files relative to this one
name = "reviews"
kind = "classify"
data = "reviews.csv"
test = "reviews-test.csv"
records = 1000           # of the training file, drawn anew for each seed
finetune.max_length = 64 # what differs for this task
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from configs.errors import UserError
from configs.schema import Section
from configs.transfer import FinetuneConfig, TaskConfig

FILES = ("data", "validation", "test")


class BudgetedTask(TaskConfig):
    """A task with its budget."""

    records: int | None = Field(None, ge=1, description="Training records, drawn anew for each seed; unset: all.")
    finetune: FinetuneConfig = Field(FinetuneConfig(), description="Its budget, where it is not that of all tasks.")


class TasksConfig(Section):
    """All tasks of a file."""

    tasks: list[BudgetedTask] = Field(min_length=1, description="The tasks, in the order of the report.")

    @model_validator(mode="after")
    def _names_differ(self) -> TasksConfig:
        names = [task.name for task in self.tasks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two tasks have the name {twice[0]!r}; give each its own")
        return self


def load_tasks(path: Path) -> list[BudgetedTask]:
    """Read a tasks file; `UserError` names the key that is wrong."""
    table = _read(path)
    common = table.pop("finetune", {})
    tasks = table.get("tasks")
    if isinstance(tasks, list) and isinstance(common, dict):
        table["tasks"] = [_complete(task, common, path.parent) for task in tasks]
    try:
        return TasksConfig.model_validate(table).tasks
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        cause = f"{key}: {first['msg'].removeprefix('Value error, ')}" if key else first["msg"]
        raise UserError(cause, place=str(path), fix="mend that key") from None


def _complete(task: Any, common: dict[str, Any], folder: Path) -> Any:
    """A task's table with the common budget below its own, and its files as seen from here."""
    if not isinstance(task, dict):
        return task
    own = task.get("finetune", {})
    files = {name: str(folder / task[name]) for name in FILES if isinstance(task.get(name), str)}
    return task | files | {"finetune": common | own if isinstance(own, dict) else own}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix="give a file of tasks") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not valid TOML: {error}", place=str(path), fix="mend that line") from error
