"""Commands on jobs and their machines. What is slow to import is imported inside the command that needs it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import UserError
from launch.cluster import SLURM, TARGETS
from launch.commands.arguments import (
    OverridesArgument,
    RecipeArgument,
    RunArgument,
    RunsArgument,
)

CLUSTER = "Cluster"


class Checked(StrEnum):
    """What `doctor` checks."""

    slurm = "slurm"
    local = "local"


def submit(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    to: Annotated[
        str, typer.Option("--to", metavar="|".join(TARGETS), help="Slurm's queue, mpirun, or this machine.")
    ] = SLURM,
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
    from launch.cluster import describe_chain, describe_launch, find_launcher, plan_chain, submit_chain

    first = load_recipe(recipe, overrides or ())
    if to != SLURM and (then or with_prepare or export_to):
        raise UserError("only Slurm chains jobs", place=f"--to {to}", fix="run the commands one after the other")
    if shares > 1 and not with_prepare:
        raise UserError("nothing is prepared", place="--shares", fix="add --prepare")
    if to != SLURM:
        launcher = find_launcher(to)
        if not dry_run:
            raise typer.Exit(launcher.train(first))
        sys.stdout.write(describe_launch(launcher, first))
        return
    recipes = [first, *(load_recipe(name) for name in then or ())]
    links = plan_chain(recipes, prepares=with_prepare, shares=shares, export_to=export_to)
    for line in describe_chain(links) if dry_run else submit_chain(links):
        sys.stdout.write(line + "\n")


def status(
    runs: RunsArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every few seconds.")] = False,
) -> None:
    """Tell how runs fare: state, step, loss, speed, time to go, restarts, newest checkpoint, and what went wrong.

    [dim]bertrain status runs/* --watch[/]
    """
    from launch.display import show_status

    show_status(runs, watch=watch)


def logs(
    run: RunArgument,
    rank: Annotated[int, typer.Option("--rank", min=0, help="Whose log.")] = 0,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of its last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
) -> None:
    """Show what a rank has printed.

    [dim]bertrain logs runs/demo --rank 3 --follow[/]
    """
    from launch.display import show_log

    show_log(run, rank, lines, follow=follow)


def stop(run: RunArgument) -> None:
    """Ask a run to save a checkpoint and end, wherever it runs; it does not come back by itself.

    [dim]bertrain stop runs/demo[/]
    """
    from launch.cluster import stop_run

    sys.stdout.write(stop_run(run) + "\n")


def doctor(
    recipe: Annotated[str, typer.Argument(metavar="[RECIPE]", help="Whose [cluster] and folder of runs.")] = "demo",
    overrides: OverridesArgument = None,
    to: Annotated[Checked, typer.Option("--to", help="This machine, or every node of a Slurm job.")] = Checked.local,
) -> None:
    """Look for what would spoil a run, here or on every node of a job, and say how to mend it.

    Ends with 2 when something is wrong.

    [dim]bertrain doctor mine.toml --to slurm[/]
    """
    from configs.recipe import load_recipe
    from launch.doctor import show_findings

    raise typer.Exit(show_findings(load_recipe(recipe, overrides or ()), on_nodes=to is Checked.slurm))


def add_jobs_commands(app: typer.Typer) -> None:
    """Add them to `app`."""
    for command in (
        submit,
        status,
        logs,
        stop,
        doctor,
    ):
        app.command(rich_help_panel=CLUSTER)(command)
