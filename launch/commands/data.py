"""Commands on data sets. Slow imports are inside the commands that need them."""

from __future__ import annotations

from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import UserError
from launch.commands.arguments import (
    DatasetArgument,
    OverridesArgument,
    RecipeArgument,
)

DATA = "Data"


class SplitOption(StrEnum):
    """The splits of a data set."""

    train = "train"
    held_out = "held_out"


def config(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Print the resolved recipe, with the meaning, range and default of each setting.

    RECIPE can also be a task recipe of `finetune` or `evaluate`.

    [dim]bertrain config mine.toml train.zero_stage=2[/]

    [dim]bertrain config task.toml finetune.epochs=3[/]
    """
    from configs.recipe import resolved_toml
    from configs.tasks import load_any
    from launch.terminal import show_toml

    show_toml(resolved_toml(load_any(recipe, overrides or ()), mark_changes=True))


def init(
    paths: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Files, folders or quoted globs of text, all of one format.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RECIPE", help="Recipe to write; it must not exist.")
    ] = Path("mine.toml"),
) -> None:
    """Write a commented recipe for your text: its format and language, and a model that suits this machine.

    [dim]bertrain init corpus.txt -o news.toml[/]
    """
    from launch.proposal import write_proposal
    from launch.terminal import console

    for line in write_proposal(paths, output):
        console().print(line, markup=False)


def recipes() -> None:
    """List the recipes that come with bertrain, which a command or a recipe's `base` can name.

    [dim]bertrain recipes[/]
    """
    from configs.recipe import described_recipes
    from launch.terminal import console

    for name, description in described_recipes().items():
        console().print(f"[bold]{name}[/]", end="")
        console().print(f"  {description}", markup=False)


def prepare(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a data set that another recipe made.")
    ] = False,
    share: Annotated[
        str,
        typer.Option(
            "--share",
            metavar="I/N",
            help="Prepare only share I of N, counted from 1. The share that finishes last completes the data set.",
        ),
    ] = "1/1",
    runner: Annotated[
        str, typer.Option("--runner", help="Beam runner, by name or class. Default: data.workers local processes.")
    ] = "",
) -> None:
    """Prepare the data set: read raw text and write shards of masked sentence pairs.

    To resume an interrupted preparation, run the same command again.

    Arguments after [bold]--[/] are passed to Beam as pipeline options.

    [dim]bertrain prepare mine.toml data.workers=8[/]

    [dim]bertrain prepare mine.toml --runner FlinkRunner -- --flink_master=host:8081[/]
    """
    from configs.exit_codes import DONE
    from configs.machine import end_at_once, never_fail_to_write
    from configs.recipe import load_recipe
    from launch.display import prepare_with_progress, warn_of_settings
    from preprocessing.execution import BeamEngine
    from preprocessing.resuming import Share

    settings = list(takewhile(lambda word: not word.startswith("--"), overrides or ()))
    engine = BeamEngine(runner, tuple((overrides or [])[len(settings) :]))
    resolved = load_recipe(recipe, settings)
    warn_of_settings(resolved)
    never_fail_to_write()
    code = prepare_with_progress(resolved.data, Share.parse(share), engine, overwrite=overwrite)
    if code != DONE:
        end_at_once(code)


def inspect(
    dataset: DatasetArgument,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Number of pairs to show.")] = 5,
    split: Annotated[SplitOption, typer.Option("--split", help="Split to show pairs from.")] = SplitOption.train,
    pass_number: Annotated[int, typer.Option("--pass", min=0, help="Pass over the corpus to show pairs from.")] = 0,
    card: Annotated[
        bool, typer.Option("--card/--no-card", help="Write DATA_CARD.md into the data set, or do not.")
    ] = True,
) -> None:
    """Print decoded pairs with their masked, kept and replaced tokens, and totals; write DATA_CARD.md.

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

        try:
            screen.print(f"data card with tables and plots: {write_card(dataset, manifest)}", markup=False)
        except UserError as error:  # everything that was asked for is shown
            screen.print(f"no data card was written: {error} --no-card omits it.", markup=False)


def verify(dataset: DatasetArgument) -> None:
    """Check a data set: digests, counts, the format's rules on every row, and statistical tests of the sampling.

    [dim]bertrain verify datasets/demo[/]
    """
    from launch.display import run_verify

    run_verify(dataset)


def add_data_commands(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    for command in (
        init,
        config,
        recipes,
        prepare,
        inspect,
        verify,
    ):
        app.command(rich_help_panel=DATA)(command)
