"""`bertrain evaluate`: held-out figures by the run's own ranks, then, where tasks are given, what it is worth there."""

from __future__ import annotations

from pathlib import Path

from configs.errors import UserError
from launch import local, run_folder

DONE = 0


def evaluate(source: Path, tasks: Path | None, output: Path | None) -> int:
    """Evaluate a run on its held-out documents and, like a Hugging Face folder, on tasks; returns the exit code."""
    if (tasks is None) != (output is None):
        raise UserError("--tasks and --output belong together", mend="give both, or neither")
    is_run = tasks is None or (source / run_folder.RECIPE).is_file()
    code = evaluate_held_out(source) if is_run else DONE
    if tasks is not None and output is not None and code == DONE:
        from launch.worth import worth_aloud

        worth_aloud(source, tasks, output)
    return code


def evaluate_held_out(run: Path) -> int:
    """Start the run's ranks on its newest checkpoint and its held-out rows."""
    commands = local.plan(run_folder.find_run(run), run, ["--evaluate"], local.this_machine(), log="evaluate")
    return local.run(commands)
