"""Commands on data sets. What is slow to import is imported inside the command that needs it."""

from __future__ import annotations

from enum import StrEnum
from itertools import takewhile
from typing import Annotated

import typer

from launch.commands.arguments import (
    DatasetArgument,
    OverridesArgument,
    RecipeArgument,
)

DATA = "Data"


class SplitOption(StrEnum):
    """The two halves of a data set."""

    train = "train"
    held_out = "held_out"


def config(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Print the resolved recipe: each setting, its meaning, its range, and whether it differs from the default.

    RECIPE may also be a task recipe of `finetune` or `evaluate`.

    [dim]bertrain config mine.toml train.zero_stage=2[/]

    [dim]bertrain config task.toml finetune.epochs=3[/]
    """
    from configs.recipe import resolved_toml
    from configs.tasks import load_any
    from launch.terminal import show_toml

    show_toml(resolved_toml(load_any(recipe, overrides or ()), mark_changes=True))


def prepare(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
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
    from launch.display import prepare_with_progress
    from preprocessing.execution import BeamEngine, Share

    settings = list(takewhile(lambda word: not word.startswith("--"), overrides or ()))
    engine = BeamEngine(runner, tuple((overrides or [])[len(settings) :]))
    data = load_recipe(recipe, settings).data
    raise typer.Exit(prepare_with_progress(data, Share.parse(share), engine, overwrite=overwrite))


def inspect(
    dataset: DatasetArgument,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Pairs to show.")] = 5,
    split: Annotated[SplitOption, typer.Option("--split", help="Which documents' pairs.")] = SplitOption.train,
    pass_number: Annotated[int, typer.Option("--pass", min=0, help="Which pass over the corpus.")] = 0,
    card: Annotated[bool, typer.Option("--card/--no-card", help="Write DATA_CARD.md into the data set.")] = True,
) -> None:
    """Show pairs decoded, with their masked, kept and replaced tokens, and the totals; write DATA_CARD.md.

    [dim]bertrain inspect datasets/demo --rows 3 --split held_out[/]
    """
    from launch.display import decoded_pairs, pair_legend, totals_table
    from launch.terminal import console
    from preprocessing.dataset import read_manifest

    screen = console()
    screen.print(pair_legend())
    for pair in decoded_pairs(dataset, split.value, pass_number, rows):
        screen.print(pair)
    manifest = read_manifest(dataset)
    screen.print(totals_table(manifest))
    if card:
        from preprocessing.inspection import write_card

        screen.print(f"what it is, in tables and pictures: {write_card(dataset, manifest)}", markup=False)


def verify(dataset: DatasetArgument) -> None:
    """Check a data set against the contract: digests, counts, every rule on every row, and what chance made of them.

    [dim]bertrain verify datasets/demo[/]
    """
    from launch.display import run_verify

    run_verify(dataset)


def add_data_commands(app: typer.Typer) -> None:
    """Add them to `app`."""
    for command in (
        config,
        prepare,
        inspect,
        verify,
    ):
        app.command(rich_help_panel=DATA)(command)
