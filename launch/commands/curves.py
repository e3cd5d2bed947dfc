"""Commands that show the curves of runs. What is slow to import is imported inside the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launch.commands.arguments import (
    RunsArgument,
)

LOOKING = "Looking"


def plot(
    runs: RunsArgument,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw loss, accuracy, speed and learning rate into this PNG.")
    ] = None,
) -> None:
    """Draw the loss of runs in the terminal, or all their curves into a picture, one over the other.

    [dim]bertrain plot runs/demo[/]

    [dim]bertrain plot runs/* --picture runs.png[/]
    """
    from launch.terminal import console, needed

    if picture is not None:
        from launch.display import draw_runs

        draw_runs(runs, picture)
        console().print(str(picture), markup=False)
        return
    needed("plotext", extra="demo")
    from launch.display import draw_loss

    console().print(draw_loss(runs), markup=False)


def tensorboard(
    runs: RunsArgument,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="First port to try.")] = 6006,
) -> None:
    """Show runs in TensorBoard, reachable from this machine only; prints how to reach it from another.

    [dim]bertrain tensorboard runs/*[/]
    """
    from launch.display import serve_tensorboard

    raise typer.Exit(serve_tensorboard(runs, port))


def add_curves_commands(app: typer.Typer) -> None:
    """Add them to `app`."""
    for command in (
        plot,
        tensorboard,
    ):
        app.command(rich_help_panel=LOOKING)(command)
