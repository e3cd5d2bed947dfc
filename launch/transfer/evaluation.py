"""`bertrain evaluate`: held-out figures by the run's own ranks, then, where tasks are given, what it is worth there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs.errors import UserError
from configs.exit_codes import DONE
from configs.run_layout import RECIPE
from configs.tasks import load_tasks
from launch.ranks import find_run, plan_ranks, run_ranks, this_machine


def run_evaluation(source: Path, tasks: Path | None, output: Path | None, overrides: Sequence[str] = ()) -> int:
    """Evaluate a run on its held-out documents and, like a Hugging Face folder, on tasks; returns the exit code.

    `overrides` change settings of the tasks.
    """
    if (tasks is None) != (output is None):
        raise UserError("--tasks and --output belong together", fix="give both, or neither")
    if overrides and tasks is None:
        raise UserError("overrides change the settings of tasks", place=repr(overrides[0]), fix="give --tasks, too")
    is_run = tasks is None or (source / RECIPE).is_file()
    code = evaluate_held_out(source) if is_run else DONE
    if tasks is not None and output is not None and code == DONE:
        from launch.transfer.task_report import run_task_report

        run_task_report(source, load_tasks(tasks, overrides), output)
    return code


def evaluate_held_out(run: Path) -> int:
    """Start the run's ranks on its newest checkpoint and its held-out rows."""
    commands = plan_ranks(find_run(run), run, ["--evaluate"], this_machine(), log="evaluate")
    return run_ranks(commands)
