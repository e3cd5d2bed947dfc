"""Commands that train, evaluate and plan. Slow imports are inside the commands that need them."""

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


# It is long because of its options, which are its help.
def train(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    resume: Annotated[
        str,
        typer.Option(
            "--resume",
            metavar="auto|never|PATH",
            help="Resume from the newest checkpoint, from none, or from this checkpoint folder.",
        ),
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print sizes, memory and time; write nothing.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Train 20 steps on synthetic rows in a temporary folder.")
    ] = False,
    nnodes: Annotated[
        int, typer.Option("--nnodes", min=1, help="Number of machines. Run the same command on each.")
    ] = 1,
    node_rank: Annotated[int, typer.Option("--node-rank", min=0, help="Number of this machine, from 0.")] = 0,
    rendezvous: Annotated[
        str | None,
        typer.Option("--rendezvous", metavar="HOST:PORT", help="Address of machine 0, and a free port there."),
    ] = None,
) -> None:
    """Train the recipe's model in runs/<name>, on all GPUs of this machine, or on its CPU if it has none.

    Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint and exit. To resume from it, run the same command again.

    To train on several machines, use --nnodes, --node-rank and --rendezvous, torchrun, or srun.

    [dim]bertrain train demo[/]

    [dim]bertrain train base_phase1 --dry-run[/]

    [dim]torchrun --nproc-per-node 8 --no-python bertrain train mine.toml[/]

    [dim]bertrain train mine.toml --nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500[/]
    """
    from configs.recipe import load_recipe
    from launch.display import (
        check_environment,
        check_nodes,
        check_ranks,
        make_private,
        run_smoke,
        settle,
        show_dry_run,
        show_outcome,
        training_screen,
        warn_of_settings,
    )
    from launch.ranks import (
        become_rank,
        is_rank,
        newest_step,
        nodes_at,
        run_folder_of,
        surrounding_nodes,
        task_of_srun,
        train_here,
    )

    resolved = load_recipe(recipe, overrides or ())
    is_alone = rendezvous is None and nnodes == 1 and node_rank == 0
    nodes = surrounding_nodes(os.environ) if is_alone else nodes_at(rendezvous, nnodes, node_rank)
    if dry_run:
        warn_of_settings(resolved)
        show_dry_run(resolved)
        return
    check_environment(resolved.cluster)
    make_private(resolved)
    if smoke:
        raise typer.Exit(run_smoke(resolved))
    if is_alone and not is_rank(os.environ) and (task := task_of_srun(os.environ)):
        os.environ.update(task.variables(os.environ))
    if is_rank(os.environ):
        check_ranks(resolved.cluster, os.environ)
    else:
        check_nodes(resolved, nodes.count)
    resolved = settle(resolved)
    if is_rank(os.environ):
        become_rank(resolved, resume)
    before = newest_step(run_folder_of(resolved)) if resume == "auto" else 0
    with training_screen(run_folder_of(resolved), resolved.train) as screen:
        code = train_here(resolved, resume, nodes, screen)
    if not node_rank:
        show_outcome(resolved, code, before)
    raise typer.Exit(code)


def evaluate(
    source: SourceArgument,
    overrides: TaskOverridesArgument = None,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", metavar="TASKS.toml", help="Also fine-tune and probe on these tasks.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the record and logs; with --tasks, for the report: it must not exist. Default: the run's.",
        ),
    ] = None,
) -> None:
    """Evaluate a run's newest checkpoint, or another model, on the held-out documents.

    With --tasks, also fine-tune and probe the model, and compare with random weights at the same budget and seeds.

    The report gives the difference in score with its standard deviation over seeds.

    TASKS.toml is a task recipe as `finetune` takes it, or one with several \\[\\[tasks]].

    A Hugging Face folder is evaluated on the held-out documents of a data set that has its vocabulary.

    [dim]bertrain evaluate runs/demo[/]

    [dim]bertrain evaluate runs/demo/checkpoints/step_00000025 cluster.device=cpu[/]

    [dim]bertrain evaluate bert-base-uncased/ data.dataset=datasets/demo[/]

    [dim]bertrain evaluate runs/demo --tasks tasks.toml -o report finetune.seeds=3[/]
    """
    from launch.transfer import run_evaluation

    raise typer.Exit(run_evaluation(source, tasks, output, overrides or ()))


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    ranks: Annotated[int, typer.Option("--gpus", min=1, help="Number of devices that the memory table assumes.")] = 8,
    hardware: Annotated[
        str,
        typer.Option("--hardware", help="Profile: b200, h200, h100, a100, a100-40, v100, l40s, rtx5090, rtx4090, cpu."),
    ] = "h100",
    tflops: Annotated[
        float | None,
        typer.Option("--tflops", min=0.001, help="Peak rate of 16-bit matrix products, TFLOP/s per device."),
    ] = None,
    memory_gb_s: Annotated[float | None, typer.Option("--memory-gb-s", min=0.1, help="Memory bandwidth, GB/s.")] = None,
    node_gb_s: Annotated[
        float | None, typer.Option("--node-gb-s", min=0.01, help="Bandwidth per device inside a node, GB/s.")
    ] = None,
    network_gb_s: Annotated[
        float | None, typer.Option("--network-gb-s", min=0.01, help="Bandwidth per device between nodes, GB/s.")
    ] = None,
    cpu_speed: Annotated[
        float | None,
        typer.Option("--cpu-speed", min=0.01, help="Speed of a host core; 1: a virtual core of an AMD EPYC server."),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="Hours to prepare the data set in.")] = 24.0,
    picture: Annotated[Path | None, typer.Option("--picture", help="Write the scaling curve to this PNG file.")] = None,
) -> None:
    """Estimate what a run costs: memory by ZeRO stage, communication, time up to 1,024 GPUs, and preparation.

    --tflops, --memory-gb-s, --node-gb-s, --network-gb-s and --cpu-speed replace figures of the profile.

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
        cpu_speed=cpu_speed,
    )
    show_plan(console(), load_recipe(recipe, overrides or ()), profile, ranks, hours, picture)


def add_training_commands(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    for command in (
        train,
        evaluate,
        plan,
    ):
        app.command(rich_help_panel=TRAINING)(command)
