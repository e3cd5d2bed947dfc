"""The commands of the second stage. As in cli.py, what is slow to import is imported inside the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TRANSFER = "Transfer"

Source = Annotated[
    Path, typer.Argument(metavar="RUN|HF_FOLDER", help="A run, one of its checkpoints, or a Hugging Face folder.")
]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or one of its checkpoints.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; it must not exist.")],
) -> None:
    """Write a run's model for Hugging Face transformers, and prove on real rows that it gives the same outputs.

    [dim]bertrain export runs/demo --output demo-bert[/]
    """
    from launch.exchange import export_run

    export_run(run, output)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="HF_FOLDER", help="A BERT in Hugging Face's form.")],
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="Data and training; shape and vocabulary are the model's.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings to change, e.g. name=mine", show_default=False),
    ] = None,
    add_pieces: Annotated[
        Path | None, typer.Option("--add-pieces", metavar="FILE", help="Word pieces of your domain to add, one a line.")
    ] = None,
) -> None:
    """Make a run that goes on from a model of Hugging Face's: for a domain's text, or a longer training.

    [dim]bertrain import bert-base-uncased/ mine.toml name=domain[/]

    [dim]bertrain prepare runs/domain; bertrain train runs/domain[/]
    """
    from launch.exchange import import_model

    import_model(folder, recipe, overrides or (), add_pieces)


def fill(
    source: Source,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text with [MASK] in it, once or several times.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Word pieces to show for each mask.")] = 5,
) -> None:
    """Show what the model would put in the place of each \\[MASK], with probabilities.

    [dim]bertrain fill runs/demo "The capital of France is \\[MASK]."[/]
    """
    from launch.filling import fill_aloud

    fill_aloud(source, text, top)


def add_to(app: typer.Typer) -> None:
    """Make them commands of `app`."""
    app.command(rich_help_panel=TRANSFER)(export)
    app.command("import", rich_help_panel=TRANSFER)(import_)
    app.command(rich_help_panel=TRANSFER)(fill)
