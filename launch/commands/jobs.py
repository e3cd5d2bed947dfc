"""Commands on jobs and machines. Slow imports are inside the commands that need them."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import UserError
from launch.cluster import SLURM, TARGETS
from launch.commands.arguments import (
    OverridesArgument,
    RecipeArgument,
    RunArgument,
    StatusArgument,
)

if TYPE_CHECKING:
    from configs.schema import Recipe
    from launch.cluster import Link

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
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep", metavar="KEY=A,B,C", help="Queue a run for each value. Repeat it for all combinations of keys."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the scripts and commands; write and run nothing.")
    ] = False,
) -> None:
    """Train in a job that is requeued automatically after a time limit, a preemption, or a failed node or rank.

    The batch script is written to the run folder as submit.sbatch. To restart the run, submit it with sbatch.

    [dim]bertrain submit mine.toml cluster.nodes=4 --prepare --shares 16 --then phase2.toml --export my-bert[/]

    [dim]bertrain submit mine.toml --sweep optimizer.learning_rate=1e-4,3e-4,1e-3[/]
    """
    from configs.recipe import load_recipe
    from launch.cluster import swept_settings
    from launch.display import warn_of_settings

    first = load_recipe(recipe, overrides or ())
    if dry_run:
        warn_of_settings(first)
    if to != SLURM and (then or with_prepare or export_to or sweep):
        raise UserError("only Slurm chains jobs", place=f"--to {to}", fix="run the commands one after the other")
    if sweep and (then or export_to):
        fix = "submit the sweep alone, and the best run's next stage after it"
        raise UserError("a sweep has no single run to continue", place="--sweep", fix=fix)
    if shares > 1 and not with_prepare:
        raise UserError("nothing is prepared", place="--shares", fix="add --prepare")
    if to != SLURM:
        _start_now(first, to, dry_run=dry_run)
        return
    if sweep:
        runs = [load_recipe(recipe, [*(overrides or ()), *own]) for own in swept_settings(sweep, first.name)]
        _queue_sweep(runs, prepares=with_prepare, shares=shares, dry_run=dry_run)
    else:
        runs = [first, *(load_recipe(name) for name in then or ())]
        _queue_chain(runs, export_to, prepares=with_prepare, shares=shares, dry_run=dry_run)


def _start_now(recipe: Recipe, to: str, *, dry_run: bool) -> None:
    """Start the ranks with mpirun or on this machine, and end with their exit code."""
    from launch.cluster import describe_launch, find_launcher
    from launch.display import check_environment, check_nodes, make_private, settle

    launcher = find_launcher(to)
    if to == "local":
        check_nodes(recipe, 1)
        check_environment(recipe.cluster)
    if not dry_run:
        make_private(recipe)
        raise typer.Exit(launcher.train(settle(recipe)))
    sys.stdout.write(describe_launch(launcher, recipe))


def _queue_chain(recipes: list[Recipe], export_to: Path | None, *, prepares: bool, shares: int, dry_run: bool) -> None:
    """Queue the jobs of runs that train one after another, or print them."""
    from launch.cluster import plan_chain

    recipes = _settled(recipes, prepares=prepares, dry_run=dry_run)
    _queue(plan_chain(recipes, prepares=prepares, shares=shares, export_to=export_to), dry_run=dry_run)


def _queue_sweep(recipes: list[Recipe], *, prepares: bool, shares: int, dry_run: bool) -> None:
    """Queue the jobs of runs that train at the same time, or print them, and say how to compare the runs."""
    from launch.cluster import plan_sweep

    recipes = _settled(recipes, prepares=prepares, dry_run=dry_run)
    links = plan_sweep(recipes, prepares=prepares, shares=shares)
    _queue(links, dry_run=dry_run)
    compared = shlex.join(["bertrain", "status", *dict.fromkeys(str(link.run) for link in links)])
    sys.stdout.write(f"to compare them: {compared}\n")


def _settled(recipes: list[Recipe], *, prepares: bool, dry_run: bool) -> list[Recipe]:
    from launch.display import check_gpus, settle_chain

    for recipe in recipes:
        check_gpus(recipe)
    return recipes if dry_run else settle_chain(recipes, prepares=prepares)


def _queue(links: list[Link], *, dry_run: bool) -> None:
    from launch.cluster import describe_chain, submit_chain

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
