"""What a training command did, and what comes next, as its last line."""

from __future__ import annotations

import shlex

from configs.exit_codes import DONE, STOPPED
from configs.schema import Recipe
from launch.ranks import newest_step, run_folder_of
from launch.terminal import console


def show_outcome(recipe: Recipe, code: int, step_before: int) -> None:
    """Print the outcome of a start that ended with `code`. `step_before` is the step from which it resumed."""
    run, step = run_folder_of(recipe), newest_step(run_folder_of(recipe))
    name = shlex.quote(str(run))
    text = ""
    if code == DONE and 0 < step == step_before:
        text = f"{run} was finished already, at step {step:,}; raise train.steps to train on"
    elif code == DONE:
        evaluate = f"`bertrain evaluate {name}`, " if recipe.data.held_out_fraction else ""  # needs held-out rows
        text = f"{run} is finished; next: {evaluate}`bertrain export {name} --output DIR`"
    elif code == STOPPED:
        text = f"{run} is stopped and saved at step {step:,} of {recipe.train.steps:,}; the same command resumes it"
    if text:
        console().print(text, markup=False)
