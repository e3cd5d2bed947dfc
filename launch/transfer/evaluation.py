"""`bertrain evaluate`: the held-out metrics of a run and, with --tasks, its results on downstream tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE
from configs.run_layout import RECIPE
from configs.tasks import load_tasks
from launch.ranks import find_run, plan_ranks, run_ranks, this_machine


def run_evaluation(source: Path, tasks: Path | None, output: Path | None, overrides: Sequence[str] = ()) -> int:
    """Evaluate a run on its held-out documents and, if `tasks` is given, on tasks. Return the exit code.

    A Hugging Face folder is evaluated on tasks only. `overrides` change settings of the tasks.
    """
    if (tasks is None) != (output is None):
        raise UserError("--tasks and --output must be given together", fix="give both, or neither")
    if overrides and tasks is None:
        raise UserError(
            "overrides need --tasks: they change the settings of tasks", place=repr(overrides[0]), fix="add --tasks"
        )
    is_run = tasks is None or (source / RECIPE).is_file()
    code = evaluate_held_out(source) if is_run else DONE
    if tasks is not None and output is not None and code == DONE:
        from launch.transfer.task_report import run_task_report

        run_task_report(source, load_tasks(tasks, overrides), output)
    return code


def evaluate_held_out(run: Path) -> int:
    """Start ranks that evaluate the run's newest checkpoint on its held-out rows. Return the exit code."""
    commands = plan_ranks(find_run(run), run, ["--evaluate"], this_machine(), log="evaluate")
    return run_ranks(commands)
