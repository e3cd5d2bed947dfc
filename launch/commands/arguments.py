"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a shipped recipe.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings to change, e.g. train.steps=100", show_default=False),
]
TaskOverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings to change, e.g. finetune.epochs=3", show_default=False),
]
DatasetArgument = Annotated[  # not a `Path`, which would turn s3://b into s3:/b
    str, typer.Argument(metavar="DATASET", help="Folder or URL of a data set, as `prepare` made it.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, e.g. runs/demo")]
RunsArgument = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, e.g. runs/demo")]
SourceArgument = Annotated[
    Path, typer.Argument(metavar="RUN|HF_FOLDER", help="A run, one of its checkpoints, or a Hugging Face folder.")
]
