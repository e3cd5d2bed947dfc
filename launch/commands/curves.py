"""Commands that plot the metrics of runs. Slow imports are inside the commands that need them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from launch.commands.arguments import (
    RunsArgument,
)

PLOTS = "Plots"


def plot(
    runs: RunsArgument,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Write loss, accuracy, speed and learning rate to this PNG file.")
    ] = None,
    x: Annotated[
        Literal["step", "tokens", "time", "samples"],
        typer.Option("--x", help="Horizontal axis: tokens compare runs with batches of different sizes."),
    ] = "step",
) -> None:
    """Plot the loss of one or more runs in the terminal, or all their metrics in a picture.

    [dim]bertrain plot runs/demo[/]

    [dim]bertrain plot runs/* --picture runs.png --x tokens[/]
    """
    from configs.machine import require_package
    from launch.terminal import console

    if picture is not None:
        from launch.display import draw_runs

        draw_runs(runs, picture, x)
        console().print(str(picture), markup=False)
        return
    require_package("plotext")
    from launch.display import draw_loss

    console().print(draw_loss(runs, x), markup=False)


def tensorboard(
    runs: RunsArgument,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65_535, help="First port to try; the next free one is used.")
    ] = 6006,
) -> None:
    """Serve runs in TensorBoard on localhost, and print the SSH command that reaches it from another machine.

    [dim]bertrain tensorboard runs/*[/]
    """
    from launch.display import serve_tensorboard

    raise typer.Exit(serve_tensorboard(runs, port))


def add_curves_commands(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    for command in (
        plot,
        tensorboard,
    ):
        app.command(rich_help_panel=PLOTS)(command)
