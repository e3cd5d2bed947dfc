"""The commands of the second stage. As in cli.py, what is slow to import is imported inside the command."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from configs.errors import UserError
from launch.commands.arguments import SourceArgument, TaskOverridesArgument

TRANSFER = "Transfer"


class Pool(StrEnum):
    """What a vector of `embed` is of."""

    mean = "mean"
    cls = "cls"
    pooler = "pooler"
    tokens = "tokens"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run, or one of its checkpoints.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; it must not exist.")],
) -> None:
    """Write a run's model for Hugging Face transformers, and prove on real rows that it gives the same outputs.

    [dim]bertrain export runs/demo --output demo-bert[/]
    """
    from launch.transfer import run_export

    run_export(run, output)


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
    from launch.transfer import import_model

    import_model(folder, recipe, overrides or (), add_pieces)


def fill(
    source: SourceArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text with [MASK] in it, once or several times.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Word pieces to show for each mask.")] = 5,
) -> None:
    """Show what the model would put in the place of each \\[MASK], with probabilities.

    [dim]bertrain fill runs/demo "The capital of France is \\[MASK]."[/]
    """
    from launch.transfer import run_fill

    run_fill(source, text, top)


def senses(
    source: SourceArgument,
    word: Annotated[str, typer.Option(help="The word to look at.")] = "bank",
    contexts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A sense, a tab, a sentence a line; unset: those of `bank`.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the vectors, and all layers, into this PNG.")] = None,
) -> None:
    """Show how far apart the senses of one word lie in each layer's space.

    The word's vectors are compared by their directions: the silhouette, and how many senses are named right by the
    nearest centroid of all other sentences.

    [dim]bertrain senses runs/demo --word bank --picture bank.png[/]
    """
    from launch.transfer import run_senses

    run_senses(source, word, contexts, picture)


def finetune(
    model: SourceArgument,
    task: Annotated[
        Path,
        typer.Argument(metavar="TASK.toml|DATA", help="A task recipe, or only its training file, e.g. reviews.csv"),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; it must not exist.")],
    overrides: TaskOverridesArgument = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="classify|pair|qa|tag|choice",
            help="Kind of task, like task.kind=KIND; a .json file is qa and a .conll file is tag by default.",
            show_default=False,
        ),
    ] = "",
    learning_curve: Annotated[
        str,
        typer.Option(
            metavar="N,N,…", help="Train on these numbers of labels, too, e.g. 10,100,1000", show_default=False
        ),
    ] = "",
) -> None:
    """Fine-tune a pretrained model on a task; write metrics with their spread, predictions, errors and the model.

    TASK.toml has a section \\[task], e.g. kind = "pair", data = "sts.csv", regression = true, and may have one
    \\[finetune], e.g. epochs = 3. The files that it names are relative to it.

    `bertrain config TASK.toml` lists every key; each can be set on the command line, too.

    [dim]bertrain finetune runs/demo reviews.csv --kind classify -o reviews finetune.seeds=5[/]

    [dim]bertrain finetune runs/demo squad.json -o answers task.test=dev.json finetune.max_length=384[/]

    [dim]bertrain finetune bert-base-uncased/ task.toml -o frozen finetune.freeze_layers=6[/]
    """
    from configs.tasks import load_task
    from launch.transfer import run_finetune

    settings = [*([f"task.kind={kind}"] if kind else []), *(overrides or ())]
    run_finetune(model, load_task(task, settings), output, label_counts(learning_curve))


def embed(
    source: SourceArgument,
    texts: Annotated[Path, typer.Argument(metavar="TEXTS", help="A text a line, or .jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to: .arrow or .npz.")],
    text: Annotated[str, typer.Option(help=".jsonl: the text's field.")] = "text",
    layers: Annotated[
        str, typer.Option(metavar="N,N,…", help="Layers: 0 the embeddings, -1 the last one, all for all of them.")
    ] = "-1",
    pool: Annotated[Pool, typer.Option(help="A vector a text, or of each of its tokens.")] = Pool.mean,
    mix: Annotated[str, typer.Option(metavar="mean|FILE", help="Mix the layers to one, evenly or by a file.")] = "",
    max_length: Annotated[int, typer.Option(min=2, help="Most tokens of a text; the rest is cut.")] = 128,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: the GPU where there is one.")] = "auto",
) -> None:
    """Write vectors of texts or their tokens, from chosen layers, to Arrow or NumPy.

    [dim]bertrain embed runs/demo sentences.txt --layers 2,3 --pool mean -o vectors.arrow[/]
    """
    from launch.transfer import run_embed
    from pretrain.transfer import Pooling

    run_embed(
        source,
        texts,
        output,
        field=text,
        layers=layer_numbers(layers),
        pooling=Pooling(pool.value),
        mix=mix,
        max_length=max_length,
        device=device,
    )


def layer_numbers(text: str) -> list[int] | None:
    """`1,2,-1` as numbers, `all` as None; `UserError` for anything else."""
    if text == "all":
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{text!r} are no layers", place="--layers", fix="write e.g. 1,2,-1, or all") from None


def label_counts(text: str) -> list[int]:
    """`10,100,1000` as numbers; `UserError` for anything else."""
    try:
        counts = [int(part) for part in text.split(",") if part]
    except ValueError:
        counts = [0]
    if any(count < 1 for count in counts):
        cause = f"{text!r} is not a list of numbers of labels"
        raise UserError(cause, place="--learning-curve", fix="write e.g. 10,100,1000")
    return counts


def add_transfer_commands(app: typer.Typer) -> None:
    """Add them to `app`."""
    app.command(rich_help_panel=TRANSFER)(export)
    app.command("import", rich_help_panel=TRANSFER)(import_)
    app.command(rich_help_panel=TRANSFER)(fill)
    app.command(rich_help_panel=TRANSFER)(senses)
    app.command(rich_help_panel=TRANSFER)(finetune)
    app.command(rich_help_panel=TRANSFER)(embed)
