"""Commands that train and evaluate. What is slow to import is imported inside the command that needs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from launch.commands.arguments import (
    OverridesArgument,
    RecipeArgument,
    SourceArgument,
    TaskOverridesArgument,
)

TRAINING = "Training"


def train(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    resume: Annotated[
        str,
        typer.Option(
            "--resume", metavar="auto|never|PATH", help="Go on from the newest checkpoint, none, or this one."
        ),
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would be, and touch nothing.")] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="Try 20 steps on synthetic rows; nothing is kept.")] = False,
    nnodes: Annotated[int, typer.Option("--nnodes", min=1, help="Machines, the same command on each.")] = 1,
    node_rank: Annotated[int, typer.Option("--node-rank", min=0, help="Which of them this is, from 0.")] = 0,
    rendezvous: Annotated[
        str | None, typer.Option("--rendezvous", metavar="HOST:PORT", help="Address of the first, and a free port.")
    ] = None,
) -> None:
    """Train in runs/<name>, on all GPUs of this machine or on its CPU, with others, or as one rank of torchrun.

    Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint first; the same command goes on from there.

    [dim]bertrain train demo[/]

    [dim]bertrain train base_phase1 --dry-run[/]

    [dim]torchrun --nproc-per-node 8 --no-python bertrain train mine.toml[/]

    [dim]bertrain train mine.toml --nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500[/]
    """
    from configs.recipe import load_recipe
    from launch.display import run_smoke, show_dry_run
    from launch.ranks import become_rank, nodes_at, train_here
    from pretrain.data import open_data

    resolved, nodes = load_recipe(recipe, overrides or ()), nodes_at(rendezvous, nnodes, node_rank)
    if dry_run:
        show_dry_run(resolved)
        return
    if smoke:
        raise typer.Exit(run_smoke(resolved))
    open_data(resolved)  # what does not fit is told now, once
    if {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        become_rank(resolved, resume)
    raise typer.Exit(train_here(resolved, resume, nodes))


def evaluate(
    source: SourceArgument,
    overrides: TaskOverridesArgument = None,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", metavar="TASKS.toml", help="Fine-tune and probe on these tasks as well.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="With --tasks: new folder for the report.")
    ] = None,
) -> None:
    """Evaluate a run's newest checkpoint on the held-out documents.

    With --tasks, also fine-tune and probe, from the checkpoint and from random weights.

    Both have the same budget and seeds; the report shows the difference with its spread.

    TASKS.toml is a task recipe of `finetune`, or one with several \\[\\[tasks]].

    [dim]bertrain evaluate runs/demo[/]

    [dim]bertrain evaluate runs/demo --tasks tasks.toml -o report finetune.seeds=3[/]
    """
    from launch.transfer import run_evaluation

    raise typer.Exit(run_evaluation(source, tasks, output, overrides or ()))


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    ranks: Annotated[int, typer.Option("--gpus", min=1, help="Devices, for the memory of each.")] = 8,
    hardware: Annotated[str, typer.Option("--hardware", help="h200, h100, a100, v100 or cpu.")] = "h100",
    tflops: Annotated[
        float | None, typer.Option("--tflops", min=0.001, help="Peak of its 16-bit matrix products, 10¹² a second.")
    ] = None,
    memory_gb_s: Annotated[
        float | None, typer.Option("--memory-gb-s", min=0.1, help="Bandwidth of its memory.")
    ] = None,
    node_gb_s: Annotated[
        float | None, typer.Option("--node-gb-s", min=0.01, help="Bandwidth of a device to others of its node.")
    ] = None,
    network_gb_s: Annotated[
        float | None, typer.Option("--network-gb-s", min=0.01, help="Bandwidth of a device to other nodes.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="To prepare the data set in.")] = 24.0,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw the scaling curve into this PNG.")] = None,
) -> None:
    """Tell what a run will cost: memory by ZeRO stage, communication, time, scaling to 1,024 GPUs, preparation.

    The hardware's figures can be replaced by measured ones.

    [dim]bertrain plan mine.toml --gpus 64 --hardware h200 --network-gb-s 25 --picture scaling.png[/]
    """
    from configs.recipe import load_recipe
    from launch.display import find_hardware, show_plan
    from launch.terminal import console

    profile = find_hardware(
        hardware,
        peak_flops=None if tflops is None else tflops * 1e12,
        memory_gb_s=memory_gb_s,
        node_gb_s=node_gb_s,
        network_gb_s=network_gb_s,
    )
    show_plan(console(), load_recipe(recipe, overrides or ()), profile, ranks, hours, picture)


def add_training_commands(app: typer.Typer) -> None:
    """Add them to `app`."""
    for command in (
        train,
        evaluate,
        plan,
    ):
        app.command(rich_help_panel=TRAINING)(command)
