"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="TOML file, run folder, or name of a shipped recipe, e.g. demo")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE",
        help="Settings that override the recipe's, e.g. train.steps=100",
        show_default=False,
    ),
]
TaskOverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SECTION.KEY=VALUE",
        help="Settings that override the task's, e.g. finetune.epochs=3",
        show_default=False,
    ),
]
DatasetArgument = Annotated[  # a `Path` would turn s3://b into s3:/b
    str, typer.Argument(metavar="DATASET", help="Folder or URL of a data set that `prepare` made.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, e.g. runs/demo")]
StatusArgument = Annotated[
    list[Path], typer.Argument(metavar="RUN...", help="Run folders, or folders of runs, e.g. runs/demo or runs")
]
RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, e.g. runs/demo")]
SourceArgument = Annotated[
    Path, typer.Argument(metavar="RUN|HF_FOLDER", help="Run folder, checkpoint folder, or Hugging Face model folder.")
]
