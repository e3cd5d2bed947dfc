"""`bertrain train --dry-run` prints what a run will need; `--smoke` trains twenty steps of it.

A smoke test trains on synthetic rows, in a folder that is removed at the end. Model, optimizer, precision, ZeRO stage
and ranks are the recipe's; the settings that would make it slow are reduced.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from configs.errors import UserError
from configs.files import explain_write_errors
from configs.schema import Recipe, recipe_of_data
from launch.ranks import is_rank, open_run, plan_ranks, run_ranks, this_machine
from launch.terminal import console

SMOKE_STEPS, SMOKE_WARMUP_STEPS = 20, 5
CPU_ROWS = 32  # rows per micro-batch on a CPU, where large ones save no time
MOST_ACCUMULATION = 2  # micro-steps per step: two are enough to exercise gradient accumulation


def show_dry_run(recipe: Recipe) -> None:
    """Print sizes, memory and time of the job that [cluster] describes. Write nothing.

    On GPUs, time and memory are estimates for an H100; `bertrain plan` has other profiles.
    """
    from launch.display.planning import memory_table, vocabulary_size
    from pretrain.cost import HARDWARE, Cost
    from pretrain.data import open_data
    from pretrain.telemetry import dry_run, duration

    machine, cluster = this_machine(), recipe.cluster
    ranks = cluster.ranks_per_node or cluster.gpus_per_node or machine.gpus or 1
    on_gpu = cluster.device != "cpu" and bool(cluster.gpus_per_node or machine.gpus)
    exists = "://" in recipe.data.dataset or Path(recipe.data.dataset).exists()
    data = open_data(recipe) if exists else None
    recipe = data.settled(recipe) if data else recipe.with_batch_of(recipe.data.max_seq_length)
    ranks *= cluster.nodes
    pieces = data.main.manifest.vocabulary.size if data else vocabulary_size(recipe.data.vocabulary)
    cost = Cost(recipe, HARDWARE["h100" if on_gpu else "cpu"], pieces, data.mean_length if data else None)
    step_s = cost.step(ranks).step_s
    lines = dry_run(recipe, data, pieces, ranks, "cuda" if on_gpu else "cpu")
    estimate = f"{step_s:.3g} s per step, {duration(cost.training_s(ranks))} in total, on {cost.hardware.name}"
    for line in (*lines, f"time     about {estimate}"):
        console().print(line, markup=False, highlight=False, soft_wrap=True)
    console().print(memory_table(cost, ranks))


def run_smoke(recipe: Recipe) -> int:
    """Train `smoke_recipe(recipe)` on all ranks of this machine, and return the exit code."""
    if is_rank(os.environ):
        raise UserError("--smoke starts its ranks itself", place="torchrun", fix="run it without torchrun")
    with explain_write_errors(Path(recipe.runs)):
        Path(recipe.runs).mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=".smoke-", dir=recipe.runs)
    with folder as name:
        machine = this_machine()
        ranks = len(plan_ranks(recipe, Path(name), (), machine))
        on_gpu = recipe.cluster.device != "cpu" and machine.gpus > 0
        smoke = smoke_recipe(recipe, Path(name), ranks, on_gpu=on_gpu)
        with open_run(smoke) as run:
            return run_ranks(plan_ranks(smoke, run, ["--resume", "never"], this_machine()))


def smoke_recipe(recipe: Recipe, folder: Path, ranks: int, *, on_gpu: bool = True) -> Recipe:
    """Return a reduced copy of the recipe, with its run and a synthetic data set in `folder`.

    `folder` must be new or empty.
    """
    from pretrain.data import write_synthetic

    recipe, vocabulary = recipe.with_batch_of(recipe.data.max_seq_length), recipe.data.vocabulary
    if vocabulary.file and not Path(vocabulary.file).is_file():
        vocabulary = vocabulary.model_copy(update={"file": None})
    data = recipe.data.model_copy(update={"dataset": str(folder / "dataset"), "vocabulary": vocabulary})
    made = write_synthetic(folder / "dataset", data)
    warmup_steps = min(round(recipe.optimizer.warmup_of(recipe.train.steps)), SMOKE_WARMUP_STEPS)
    micro_batch_size = recipe.train.micro_batch_size if on_gpu else min(recipe.train.micro_batch_size, CPU_ROWS)
    most_rows = ranks * micro_batch_size * MOST_ACCUMULATION
    decay_steps = min(recipe.optimizer.decay_steps, SMOKE_STEPS - warmup_steps)
    schedule = {"warmup_steps": warmup_steps, "warmup_share": 0.0, "decay_steps": decay_steps, "decay_from_step": 0}
    train: dict[str, object] = {
        "epochs": 0.0,
        "tokens": 0,
        "steps": SMOKE_STEPS,
        "budget_min": 0.0,
        "batch_growth_steps": 0,
        "micro_batch_size": micro_batch_size,
        "global_batch_tokens": 0,
        "global_batch_size": min(recipe.train.global_batch_size, most_rows),
        "initialise_from": None,
        "mixture": [],
        "stage_in": None,
        "log_every_steps": 1,
        "evaluate_every_steps": 0,
    }
    return recipe.model_copy(
        update={
            "name": "smoke",
            "runs": str(folder),
            "data": recipe_of_data(made.recipe, data),
            "optimizer": recipe.optimizer.model_copy(update=schedule),
            "train": recipe.train.model_copy(update=train),
        }
    )
