"""Commands on jobs and machines. Slow imports are inside the commands that need them."""

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
    StatusArgument,
)

CLUSTER = "Cluster"


class Checked(StrEnum):
    """The machines that `doctor` checks."""

    slurm = "slurm"
    mpi = "mpi"
    local = "local"


# It is long because of its options, which are its help.
def submit(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    to: Annotated[
        str,
        typer.Option("--to", metavar="|".join(TARGETS), help="Queue a Slurm job, or start mpirun or local ranks now."),
    ] = SLURM,
    then: Annotated[
        list[str] | None,
        typer.Option(
            "--then", metavar="RECIPE", help="Queue this recipe's run after the previous one succeeds. Repeatable."
        ),
    ] = None,
    with_prepare: Annotated[
        bool, typer.Option("--prepare", help="Queue jobs that prepare the data sets first.")
    ] = False,
    shares: Annotated[int, typer.Option("--shares", min=1, help="With --prepare: number of jobs in the array.")] = 1,
    export_to: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="DIR", help="Queue a job that exports the last run to this Hugging Face folder."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the scripts and commands; write and run nothing.")
    ] = False,
) -> None:
    """Train in a job that is requeued automatically after a time limit, a preemption, or a failed node or rank.

    The batch script is written to the run folder as submit.sbatch. To restart the run, submit it with sbatch.

    [dim]bertrain submit mine.toml cluster.nodes=4 --prepare --shares 16 --then phase2.toml --export my-bert[/]
    """
    from configs.recipe import load_recipe
    from launch.cluster import describe_chain, describe_launch, find_launcher, plan_chain, submit_chain
    from launch.display import (
        check_environment,
        check_gpus,
        check_nodes,
        make_private,
        settle,
        settle_chain,
        warn_of_settings,
    )

    first = load_recipe(recipe, overrides or ())
    if dry_run:
        warn_of_settings(first)
    if to != SLURM and (then or with_prepare or export_to):
        raise UserError("only Slurm chains jobs", place=f"--to {to}", fix="run the commands one after the other")
    if shares > 1 and not with_prepare:
        raise UserError("nothing is prepared", place="--shares", fix="add --prepare")
    if to != SLURM:
        launcher = find_launcher(to)
        if to == "local":
            check_nodes(first, 1)
            check_environment(first.cluster)
        if not dry_run:
            make_private(first)
            raise typer.Exit(launcher.train(settle(first)))
        sys.stdout.write(describe_launch(launcher, first))
        return
    recipes = [first, *(load_recipe(name) for name in then or ())]
    for one in recipes:
        check_gpus(one)
    if not dry_run:
        recipes = settle_chain(recipes, prepares=with_prepare)
    links = plan_chain(recipes, prepares=with_prepare, shares=shares, export_to=export_to)
    for line in describe_chain(links) if dry_run else submit_chain(links):
        sys.stdout.write(line + "\n")


def status(
    runs: StatusArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh the table every five seconds until Ctrl-C.")] = False,
) -> None:
    """Show the state of runs: step, loss, speed, remaining time, restarts, newest checkpoint, and errors.

    [dim]bertrain status runs[/]

    [dim]bertrain status runs/* --watch[/]
    """
    from launch.display import show_status

    show_status(runs, watch=watch)


def logs(
    run: RunArgument,
    rank: Annotated[int, typer.Option("--rank", min=0, help="Rank whose log to print.")] = 0,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Number of lines to print from the end.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing lines as they are appended.")] = False,
) -> None:
    """Print the end of a rank's log.

    [dim]bertrain logs runs/demo --rank 1 --follow[/]
    """
    from launch.display import show_log

    show_log(run, rank, lines, follow=follow)


def stop(run: RunArgument) -> None:
    """Stop a run after it saves a checkpoint. Its job is not requeued.

    Works from any machine that shares the run's folder.

    [dim]bertrain stop runs/demo[/]
    """
    from launch.cluster import stop_run

    sys.stdout.write(stop_run(run) + "\n")


def doctor(
    recipe: Annotated[
        str, typer.Argument(metavar="[RECIPE]", help="Recipe that gives \\[cluster] and the folder of runs.")
    ] = "demo",
    overrides: OverridesArgument = None,
    to: Annotated[
        Checked,
        typer.Option("--to", help="Check this machine, ranks that mpirun starts, or every node of a Slurm job."),
    ] = Checked.local,
) -> None:
    """Check this machine, or every node of a Slurm job, for problems that would break a run, and print fixes.

    Exits with code 2 if a check fails.

    [dim]bertrain doctor mine.toml --to slurm[/]
    """
    from configs.recipe import load_recipe
    from launch.doctor import show_findings

    raise typer.Exit(show_findings(load_recipe(recipe, overrides or ()), to.value))


def add_jobs_commands(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    for command in (
        submit,
        status,
        logs,
        stop,
        doctor,
    ):
        app.command(rich_help_panel=CLUSTER)(command)
