"""Commands that use pretrained models. Slow imports are inside the commands that need them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from configs.errors import UserError
from launch.commands.arguments import SourceArgument, TaskOverridesArgument

TRANSFER = "Transfer"


class Pool(StrEnum):
    """How `embed` pools the vectors of a text's tokens."""

    mean = "mean"
    cls = "cls"
    pooler = "pooler"
    tokens = "tokens"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or one of its checkpoint folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write. It must not exist.")],
    sentence_transformers: Annotated[
        bool,
        typer.Option(
            "--sentence-transformers",
            help="Add the files that sentence-transformers loads: a sentence is the mean of its tokens.",
        ),
    ] = False,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Add the encoder as onnx/model.onnx, compared with ONNX Runtime."),
    ] = False,
) -> None:
    """Export a run's model as a Hugging Face folder, and check that transformers computes the same outputs.

    [dim]bertrain export runs/demo --output demo-bert[/]
    """
    from configs.machine import never_fail_to_write
    from launch.transfer import run_export

    never_fail_to_write()
    run_export(run, output, sentence_transformers=sentence_transformers, onnx=onnx)


def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that `bertrain export` wrote.")],
    repository: Annotated[str, typer.Argument(metavar="NAME", help="Repository on the Hub, e.g. you/demo-bert.")],
) -> None:
    """Print the command that uploads an exported model to the Hugging Face Hub.

    [dim]bertrain push demo-bert you/demo-bert[/]
    """
    from launch.transfer import run_push

    run_push(folder, repository)


def import_(
    folder: Annotated[Path, typer.Argument(metavar="HF_FOLDER", help="BERT model folder in Hugging Face format.")],
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="Recipe for data and training. The model gives shape and vocabulary."),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SECTION.KEY=VALUE", help="Settings that override the recipe's, e.g. name=mine", show_default=False
        ),
    ] = None,
    add_pieces: Annotated[
        Path | None,
        typer.Option(
            "--add-pieces", metavar="FILE", help="File of word pieces to add to the vocabulary, one per line."
        ),
    ] = None,
) -> None:
    """Create a run that continues pretraining a Hugging Face model, for example on text of your domain.

    [dim]bertrain import bert-base-uncased/ mine.toml name=domain data.dataset=datasets/domain[/]

    [dim]bertrain prepare runs/domain; bertrain train runs/domain[/]
    """
    from configs.machine import never_fail_to_write
    from launch.transfer import import_model

    never_fail_to_write()
    import_model(folder, recipe, overrides or (), add_pieces)


def fill(
    source: SourceArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Text with one or more [MASK] tokens.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of word pieces to print for each mask.")] = 5,
) -> None:
    """Print the most probable word pieces for each \\[MASK] of a text.

    [dim]bertrain fill runs/demo "The capital of France is \\[MASK]."[/]
    """
    from launch.transfer import run_fill

    run_fill(source, text, top)


def senses(
    source: SourceArgument,
    word: Annotated[str, typer.Option(help="Word whose senses to compare.")] = "bank",
    contexts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Lines of SENSE<tab>SENTENCE. Default: sentences for `bank`.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Write a plot of the vectors and of all layers to this PNG file.")
    ] = None,
) -> None:
    """Measure how well each layer separates the senses of one word.

    For each layer, print the silhouette score of the word's vectors, scaled to length 1, and a classifier's accuracy.

    The classifier chooses the sense with the nearest centroid, computed without the sentence that it classifies.

    [dim]bertrain senses runs/demo --word bank --picture bank.png[/]
    """
    from launch.transfer import run_senses

    run_senses(source, word, contexts, picture)


# It is long because of its options, which are its help.
def finetune(
    model: SourceArgument,
    task: Annotated[
        Path,
        typer.Argument(
            metavar="TASK.toml|DATA", help="Task recipe, a shipped one (glue_tasks), or a training file, e.g. data.csv"
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write; the same command resumes in it.")
    ],
    overrides: TaskOverridesArgument = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="classify|pair|qa|tag|choice; short for task.kind=KIND. Default: qa for .json, tag for .conll files.",
            show_default=False,
        ),
    ] = "",
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="Metric that selects the best epoch, e.g. macro_f1, mcc, spearman; short for task.metric=METRIC.",
            show_default=False,
        ),
    ] = "",
    learning_curve: Annotated[
        str,
        typer.Option(
            metavar="N,N,…",
            help="Also train on subsets with these numbers of labels, e.g. 10,100,1000",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Fine-tune a pretrained model on a task. Write metrics over seeds, predictions, errors and the model.

    TASK.toml has a section \\[task], e.g. kind = "pair", data = "sts.csv", regression = true.

    It can have a section \\[finetune], e.g. epochs = 3. Paths in it are relative to its folder.

    For classify, DATA has the columns `text` and `label`, or others with usual names, or those that task.text and
    task.label name. A number can be predicted instead of a class: task.regression=true.

    Ctrl-C and SIGTERM keep the seeds that are done; the same command resumes after them.

    `bertrain config TASK.toml` lists every key. Each can be overridden on the command line.

    [dim]bertrain finetune runs/demo reviews.csv --kind classify -o reviews finetune.seeds=5[/]

    [dim]bertrain finetune bert-base-uncased/ squad.json -o answers task.test=dev.json finetune.max_length=384[/]

    [dim]bertrain finetune bert-base-uncased/ task.toml -o frozen finetune.freeze_layers=6[/]

    [dim]bertrain finetune bert-base-uncased/ glue_tasks -o glue finetune.seeds=5[/]
    """
    short = {"kind": kind, "metric": metric}
    given = [f"task.{name}={value}" for name, value in short.items() if value]
    _finetune(model, task, output, given, overrides or [], label_counts(learning_curve))


def _finetune(
    model: Path, task: Path, output: Path, short: list[str], overrides: list[str], learning_curve: list[int]
) -> None:
    from configs.machine import never_fail_to_write
    from configs.tasks import load_several, load_task
    from launch.transfer import ending_resumably, run_finetune, run_finetunes

    never_fail_to_write()
    several = load_several(task, overrides)
    if several is not None and (short or learning_curve):
        cause = "--kind, --metric and --learning-curve are for one task"
        raise UserError(cause, place=str(task), fix="set tasks.0.kind and tasks.0.metric, or give one task")
    with ending_resumably(output):
        if several is None:
            run_finetune(model, load_task(task, [*short, *overrides]), output, learning_curve)
        else:
            run_finetunes(model, several, output)


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder that `finetune` wrote, or the folder `model` in it.")
    ],
    data: Annotated[
        Path, typer.Argument(metavar="FILE", help="File as for training, with or without labels; - is standard input.")
    ],
    overrides: TaskOverridesArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="JSONL file to write. Default: standard output."),
    ] = None,
) -> None:
    """Label a file with a fine-tuned model. Write each record with its prediction and probabilities as JSONL.

    [dim]bertrain predict reviews new-reviews.csv -o labelled.jsonl[/]

    [dim]bertrain predict reviews new-reviews.csv task.text=body task.bad_records=drop[/]
    """
    from configs.machine import never_fail_to_write
    from launch.transfer import run_predict

    if output:
        never_fail_to_write()
    run_predict(model, data, output, overrides or ())


def embed(
    source: SourceArgument,
    texts: Annotated[
        Path,
        typer.Argument(
            metavar="TEXTS",
            help="Text file with one text per line, or a table (CSV, JSONL, Parquet …); - is standard input.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write, .arrow or .npz.")],
    text: Annotated[
        str, typer.Option(help="Column of a table that holds the text. Default: `text`, or a usual name.")
    ] = "",
    layers: Annotated[
        str,
        typer.Option(
            metavar="N,N,…", help="Layers to write. 0 is the embeddings, -1 the last layer; `all` writes all."
        ),
    ] = "-1",
    pool: Annotated[Pool, typer.Option(help="One vector per text, or one per token.")] = Pool.mean,
    mix: Annotated[
        str,
        typer.Option(
            metavar="mean|FILE", help="Combine the layers: `mean`, or weights from a mix.json of `evaluate --tasks`."
        ),
    ] = "",
    max_length: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Maximum number of tokens per text; longer texts are cut. Default: 128, or the model's positions if "
            "they are fewer.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="`auto` uses the GPU if there is one.")
    ] = "auto",
) -> None:
    """Write the vectors of texts, or of their tokens, from the chosen layers to an Arrow or NumPy file.

    [dim]bertrain embed runs/demo sentences.txt --layers 2,3 --pool mean -o vectors.arrow[/]
    """
    from configs.machine import never_fail_to_write
    from launch.transfer import run_embed
    from pretrain.transfer import Pooling

    never_fail_to_write()
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
    """Parse `1,2,-1` to numbers and `all` to None. Raise `UserError` for anything else."""
    if text == "all":
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{text!r} is not a list of layers", place="--layers", fix="write e.g. 1,2,-1, or all"
        ) from None


def label_counts(text: str) -> list[int]:
    """Parse `10,100,1000`. Raise `UserError` for anything else."""
    try:
        counts = [int(part) for part in text.split(",") if part]
    except ValueError:
        counts = [0]
    if any(count < 1 for count in counts):
        cause = f"{text!r} is not a list of numbers of labels"
        raise UserError(cause, place="--learning-curve", fix="write e.g. 10,100,1000")
    return counts


def add_transfer_commands(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    app.command(rich_help_panel=TRANSFER)(export)
    app.command(rich_help_panel=TRANSFER)(push)
    app.command("import", rich_help_panel=TRANSFER)(import_)
    app.command(rich_help_panel=TRANSFER)(fill)
    app.command(rich_help_panel=TRANSFER)(senses)
    app.command(rich_help_panel=TRANSFER)(finetune)
    app.command(rich_help_panel=TRANSFER)(predict)
    app.command(rich_help_panel=TRANSFER)(embed)
