"""The `bertrain` command. What is slow to import is imported inside the command that needs it.

Exit codes: 0 done, 2 the user's input is wrong (one line on standard error), 75 stopped on request, with a
checkpoint or finished groups, 130 interrupted, 1 anything else.
"""

from __future__ import annotations

import logging
import os
import sys
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from configs.errors import UserError
from launch import transfer_commands

USER_ERROR, INTERRUPTED = 2, 130

DATA, TRAINING, CLUSTER, LOOKING = "Data", "Training", "Cluster", "Looking"

app = typer.Typer(
    name="bertrain",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Pretrain BERT: raw text in at one end, a pretrained, evaluated encoder out at the other.",
    epilog="Everything is a recipe: [cyan]bertrain config demo[/] shows one, with each setting explained. "
    "A command takes a recipe's file or shipped name, then any settings to change: "
    "[cyan]bertrain train demo train.steps=100 name=short[/]",
)

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a shipped recipe.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings to change, e.g. train.steps=100", show_default=False),
]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set, as `prepare` made it.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, e.g. runs/demo")]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, e.g. runs/demo")]


class Split(StrEnum):
    """The two halves of a data set."""

    train = "train"
    held_out = "held_out"


class Target(StrEnum):
    """Where `submit` sends a run."""

    slurm = "slurm"
    mpi = "mpi"
    local = "local"


@app.command(rich_help_panel=DATA)
def config(recipe: Recipe, overrides: Overrides = None) -> None:
    """Print the resolved recipe: each setting, its meaning, its range, and whether it differs from the default.

    [dim]bertrain config mine.toml train.zero_stage=2[/]
    """
    from configs.recipe import load_recipe, resolved_toml
    from launch.console import show_toml

    show_toml(resolved_toml(load_recipe(recipe, overrides or ()), mark_changes=True))


@app.command(rich_help_panel=DATA)
def prepare(
    recipe: Recipe,
    overrides: Overrides = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set of another recipe.")] = False,
    share: Annotated[
        str,
        typer.Option(
            "--share", metavar="I/N", help="Only the I-th of N shares; the last to end completes the data set."
        ),
    ] = "1/1",
    runner: Annotated[
        str, typer.Option("--runner", help="Beam's name of a runner, or its class; unset: data.workers, here.")
    ] = "",
) -> None:
    """Make the data set: raw text to shards of masked sentence pairs.

    Interrupted, it goes on where it was when the same command is run again.

    What stands behind [bold]--[/] are Beam's options for the runner.

    [dim]bertrain prepare mine.toml data.workers=8[/]

    [dim]bertrain prepare mine.toml --runner FlinkRunner -- --flink_master=host:8081[/]
    """
    from configs.recipe import load_recipe
    from launch.preparation import prepare_with_progress
    from preprocessing.engine import Engine
    from preprocessing.share import Share

    settings = list(takewhile(lambda word: not word.startswith("--"), overrides or ()))
    engine = Engine(runner, tuple((overrides or [])[len(settings) :]))
    data = load_recipe(recipe, settings).data
    raise typer.Exit(prepare_with_progress(data, Share.parse(share), engine, overwrite=overwrite))


@app.command(rich_help_panel=DATA)
def inspect(
    dataset: Dataset,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Pairs to show.")] = 5,
    split: Annotated[Split, typer.Option("--split", help="Which documents' pairs.")] = Split.train,
    pass_number: Annotated[int, typer.Option("--pass", min=0, help="Which pass over the corpus.")] = 0,
    card: Annotated[bool, typer.Option("--card/--no-card", help="Write DATA_CARD.md into the data set.")] = True,
) -> None:
    """Show pairs decoded, with their masked, kept and replaced tokens, and the totals; write DATA_CARD.md.

    [dim]bertrain inspect datasets/demo --rows 3 --split held_out[/]
    """
    from launch.console import console
    from launch.inspection import decoded_pairs, legend, totals
    from preprocessing.contract import read_manifest

    screen = console()
    screen.print(legend())
    for pair in decoded_pairs(dataset, split.value, pass_number, rows):
        screen.print(pair)
    manifest = read_manifest(dataset)
    screen.print(totals(manifest))
    if card:
        from preprocessing.card import write_card

        screen.print(f"what it is, in tables and pictures: {write_card(dataset, manifest)}", markup=False)


@app.command(rich_help_panel=DATA)
def verify(dataset: Dataset) -> None:
    """Check a data set against the contract: digests, counts, every rule on every row, and what chance made of them.

    [dim]bertrain verify datasets/demo[/]
    """
    from launch.inspection import verify_aloud

    verify_aloud(dataset)


@app.command(rich_help_panel=TRAINING)
def train(
    recipe: Recipe,
    overrides: Overrides = None,
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
    from launch import local, rehearsal
    from pretrain.fit import open_data

    resolved, nodes = load_recipe(recipe, overrides or ()), local.nodes_at(rendezvous, nnodes, node_rank)
    if dry_run:
        rehearsal.show_dry_run(resolved)
        return
    if smoke:
        raise typer.Exit(rehearsal.smoke(resolved))
    open_data(resolved)  # what does not fit is told now, once
    if {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        local.become_rank(resolved, resume)
    raise typer.Exit(local.train(resolved, resume, nodes))


@app.command(rich_help_panel=TRAINING)
def evaluate(
    source: transfer_commands.Source,
    tasks: Annotated[
        Path | None, typer.Option("--tasks", metavar="FILE", help="tasks.toml: fine-tune and probe on these as well.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="With --tasks: new folder for the report.")
    ] = None,
) -> None:
    """Evaluate a run's newest checkpoint on the held-out documents.

    With --tasks, fine-tune and probe from it and from random weights, too, with the same budget and seeds, and report
    the difference with its spread.

    [dim]bertrain evaluate runs/demo[/]

    [dim]bertrain evaluate runs/demo --tasks tasks.toml -o worth[/]
    """
    from launch.evaluation import evaluate

    raise typer.Exit(evaluate(source, tasks, output))


@app.command(rich_help_panel=CLUSTER)
def plan(
    recipe: Recipe,
    overrides: Overrides = None,
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
    from launch.console import console
    from launch.planning import find_hardware, show

    profile = find_hardware(
        hardware,
        peak_flops=None if tflops is None else tflops * 1e12,
        memory_gb_s=memory_gb_s,
        node_gb_s=node_gb_s,
        network_gb_s=network_gb_s,
    )
    show(console(), load_recipe(recipe, overrides or ()), profile, ranks, hours, picture)


@app.command(rich_help_panel=CLUSTER)
def submit(
    recipe: Recipe,
    overrides: Overrides = None,
    to: Annotated[Target, typer.Option("--to", help="Slurm's queue, mpirun, or this machine.")] = Target.slurm,
    then: Annotated[
        list[str] | None, typer.Option("--then", metavar="RECIPE", help="A run to queue after it has succeeded.")
    ] = None,
    with_prepare: Annotated[bool, typer.Option("--prepare", help="Make the data sets first, as jobs.")] = False,
    shares: Annotated[int, typer.Option("--shares", min=1, help="With --prepare: an array of so many jobs.")] = 1,
    export_to: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="Export the last run for Hugging Face, as a job.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written and run.")] = False,
) -> None:
    """Train as a job that comes back by itself: after its time limit, a preemption, a failed node or rank.

    The job's script lies in the run's folder; `sbatch` of it alone starts the run again.

    [dim]bertrain submit mine.toml cluster.nodes=4 --prepare --shares 16 --then phase2.toml --export my-bert[/]
    """
    from configs.recipe import load_recipe
    from launch import submission

    first = load_recipe(recipe, overrides or ())
    if to is not Target.slurm and (then or with_prepare or export_to):
        raise UserError("only Slurm chains jobs", place=f"--to {to.value}", mend="run the commands one after the other")
    if shares > 1 and not with_prepare:
        raise UserError("nothing is prepared", place="--shares", mend="add --prepare")
    if to is Target.local:
        raise typer.Exit(submission.run_local(first, dry_run=dry_run))
    if to is Target.mpi:
        raise typer.Exit(submission.run_mpi(first, dry_run=dry_run))
    recipes = [first, *(load_recipe(name) for name in then or ())]
    links = submission.chain(recipes, prepares=with_prepare, shares=shares, export_to=export_to)
    for line in submission.dry_run(links) if dry_run else submission.submit(links):
        sys.stdout.write(line + "\n")


@app.command(rich_help_panel=CLUSTER)
def status(
    runs: Runs,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds.")] = False,
) -> None:
    """Tell how runs fare: state, step, loss, speed, time to go, restarts, newest checkpoint, and what went wrong.

    [dim]bertrain status runs/* --watch[/]
    """
    from launch.status import show

    show(runs, watch=watch)


@app.command(rich_help_panel=CLUSTER)
def logs(
    run: Run,
    rank: Annotated[int, typer.Option("--rank", min=0, help="Whose log.")] = 0,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of its last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
) -> None:
    """Show what a rank has printed.

    [dim]bertrain logs runs/demo --rank 3 --follow[/]
    """
    from launch.reading import show_log

    show_log(run, rank, lines, follow=follow)


@app.command(rich_help_panel=CLUSTER)
def stop(run: Run) -> None:
    """Ask a run to save a checkpoint and end, wherever it runs; it does not come back by itself.

    [dim]bertrain stop runs/demo[/]
    """
    from launch.stopping import stop

    sys.stdout.write(stop(run) + "\n")


@app.command(rich_help_panel=CLUSTER)
def doctor(
    recipe: Annotated[str, typer.Argument(metavar="[RECIPE]", help="Whose [cluster] and folder of runs.")] = "demo",
    overrides: Overrides = None,
    to: Annotated[Target, typer.Option("--to", help="This machine, or every node of a Slurm job.")] = Target.local,
) -> None:
    """Look for what would spoil a run, here or on every node of a job, and say how to mend it.

    Ends with 2 when something is wrong.

    [dim]bertrain doctor mine.toml --to slurm[/]
    """
    from configs.recipe import load_recipe
    from launch.doctor import show

    if to is Target.mpi:
        raise UserError("not a place to look at", place="--to mpi", mend="take --to local or --to slurm")
    raise typer.Exit(show(load_recipe(recipe, overrides or ()), on_nodes=to is Target.slurm))


@app.command(rich_help_panel=LOOKING)
def plot(
    runs: Runs,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw loss, accuracy, speed and learning rate into this PNG.")
    ] = None,
) -> None:
    """Draw the loss of runs in the terminal, or all their curves into a picture, one over the other.

    [dim]bertrain plot runs/demo[/]

    [dim]bertrain plot runs/* --picture runs.png[/]
    """
    from launch.console import console, needed

    if picture is not None:
        from launch.curves import draw_curves

        draw_curves(runs, picture)
        console().print(str(picture), markup=False)
        return
    needed("plotext", extra="demo")
    from launch.plot import draw_loss

    console().print(draw_loss(runs), markup=False)


@app.command(rich_help_panel=LOOKING)
def tensorboard(
    runs: Runs,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="First port to try.")] = 6006,
) -> None:
    """Show runs in TensorBoard, reachable from this machine only; prints how to reach it from another.

    [dim]bertrain tensorboard runs/*[/]
    """
    from launch.tensorboard import serve

    raise typer.Exit(serve(runs, port))


transfer_commands.add_to(app)


def main() -> NoReturn:
    """Run the command line; what the user can mend is told in one line."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)  # typer has exited before


if __name__ == "__main__":
    main()
