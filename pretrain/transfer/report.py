"""The output files of a fine-tuning.

settings.json        what the results depend on; the same command resumes, another one is refused
seed_0/ …            predictions.jsonl: every test record with its prediction; errors.jsonl: the wrong ones; result.json
seed_0/second_test/  predictions.jsonl and errors.jsonl of the second test file, if there is one
report.json          settings, sizes, counts of dropped and changed records, metrics of every seed, mean and deviation
tb/                  TensorBoard files: loss and validation metrics by step
model/               the best seed's model, in Hugging Face's form, with its model card
learning_curve.png   metrics over the number of labels, if requested (pictures.py)
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from configs.errors import UserError
from configs.files import atomic_write_text, read_bounded
from configs.recipe import resolved_toml
from configs.records import parse_line, record_line
from configs.schema import ModelConfig
from configs.tasks import TaskRecipe, load_task
from preprocessing.vocabulary import Vocabulary
from pretrain.huggingface import Pretrained, family_of, write_hugging_face_folder
from pretrain.transfer.finetuning import ReportEpoch, TaskItems
from pretrain.transfer.labelled import Records
from pretrain.transfer.making import restore_task
from pretrain.transfer.tasks import Answers, Regression, Task, TransferModel
from pretrain.transfer.trials import Spread, load_again

_MODEL_FIX = "restore it from a copy, or fine-tune again"
TASK, HEAD = "task.toml", "head.json"
HEADS = {"BertForQuestionAnswering": "qa_outputs"}  # transformers' name of the head if it is not `classifier`
# Of a task on a model from left to right: transformers' classes would read the row's first token, or lack the bias.
OWN_HEAD = "left_to_right_classifier"


@contextmanager
def board(folder: Path) -> Iterator[ReportEpoch]:
    """Yield a function that reports one seed's fine-tuning to TensorBoard files in `folder`."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def report(step: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            tag = "loss/train" if name == "loss" else f"validation/{name}"
            writer.add_scalar(tag, value, step)
        writer.flush()

    try:
        yield report
    finally:
        writer.close()


def write_answers(folder: Path, records: Records, answers: Answers) -> None:
    """Write every record with its prediction to predictions.jsonl, and the wrong ones also to errors.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = list(prediction_lines(records, answers.predictions, answers.details))
    atomic_write_text(folder / "predictions.jsonl", "".join(lines))
    wrong = [line for line, is_wrong in zip(lines, answers.wrong, strict=True) if is_wrong]
    atomic_write_text(folder / "errors.jsonl", "".join(wrong))


def prediction_lines(records: Records, values: Sequence[Any], details: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield each record as its file gives it, with `prediction` and its details, as a line of JSON.

    A column of the file that has one of these names is renamed, e.g. to `given_prediction`.
    """
    for number, value in enumerate(values):
        made = {"prediction": value, **(details[number] if details else {})}
        row = {f"given_{name}" if name in made else name: given for name, given in records.row(number).items()}
        yield json.dumps({**row, **made}, ensure_ascii=False, default=str) + "\n"


def write_model(folder: Path, source: Pretrained, recipe: TaskRecipe, task: Task, model: TransferModel) -> None:
    """Write a fine-tuned model as a Hugging Face folder, for the `AutoModelFor…` class of its task.

    task.toml and head.json hold what `bertrain predict` needs beside it. A model in `folder` is replaced.
    """
    if isinstance(task, Regression):
        task.rescale_head(model.classifier)
    fields = task.fields()
    state = model.state_dict()
    head = _head_of(source.config, task)
    if head == OWN_HEAD:
        fields["architectures"] = [f"{family_of(source.config)}Model"]
    elif source.config.is_modern:
        fields["architectures"] = [f"Modern{name}" for name in fields["architectures"]]
    ours = {
        name: weight
        for name, weight in state.items()
        if name.startswith("bert.")
        and not (task.per_token and name.startswith("bert.pooler") and not source.config.is_modern)
    }
    theirs = {f"{head}.{kind}": state[f"classifier.{kind}"] for kind in ("weight", "bias")}
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_hugging_face_folder(partial, source.config, source.vocabulary, ours, theirs, **fields)
    atomic_write_text(partial / TASK, resolved_toml(recipe))
    atomic_write_text(partial / HEAD, record_line({"state": task.state()}) + "\n")
    shutil.rmtree(folder, ignore_errors=True)  # the model of an earlier seed of this output folder
    os.replace(partial, folder)


def read_model(folder: Path, overrides: Sequence[str] = ()) -> tuple[TaskRecipe, Task, TransferModel, Vocabulary]:
    """Read a fine-tuned model that `write_model` wrote, with the task that it was trained for.

    Raises `UserError` if one of its files is missing or damaged.
    """
    if not (folder / HEAD).is_file():
        fix = "give the folder `model` that `bertrain finetune` wrote"
        raise UserError("not a fine-tuned model", place=str(folder), fix=fix)
    source, state = load_again(folder), _read_state(folder / HEAD)
    recipe = load_task(folder / TASK, overrides)
    settings = recipe.finetune.fitted_to(source.config.max_position_embeddings)
    recipe = recipe.model_copy(update={"finetune": settings})
    try:
        task = restore_task(recipe.task, recipe.finetune, source.vocabulary, state)
        model = TransferModel(source.encoder(), task, 0.0, source.config.initializer_range)
        head = _head_of(source.config, task)
        weights = load_file(folder / "model.safetensors")
        model.classifier.load_state_dict({kind: weights[f"{head}.{kind}"] for kind in ("weight", "bias")})
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        cause = f"its files contradict each other: {type(error).__name__}: {error}"
        raise UserError(cause, place=str(folder), fix=_MODEL_FIX) from error
    return recipe, task, model, source.vocabulary


def _head_of(config: ModelConfig, task: Task) -> str:
    """Return the name of the head's weights in a folder."""
    if config.is_left_to_right and (config.is_modern or not task.per_token):
        return OWN_HEAD
    return "classifier" if config.is_modern else HEADS.get(task.fields()["architectures"][0], "classifier")


def _read_state(path: Path) -> dict[str, Any]:
    """Return what `Task.state` returned when the model was written."""
    try:
        found = parse_line(read_bounded(path).rstrip() + b"\n")
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix=_MODEL_FIX) from error
    state = None if found is None else found.get("state", found)  # earlier versions wrote the state alone
    if not isinstance(state, dict):
        raise UserError("damaged: its content differs from its checksum", place=str(path), fix=_MODEL_FIX)
    return state


def sizes(data: TaskItems) -> dict[str, Any]:
    """Return the counts of each part and each file.

    `records` and `dropped` of a file add up to its records; so do the `records` of the parts that are read from it.
    """
    parts = {name: {"records": len(part), "treated": dict(part.treated)} for name, part in data.splits.parts().items()}
    return {**parts, "files": data.splits.files}


def defined(value: Any) -> Any:
    """Return a report with null for each number that is not finite, such as a correlation with a constant."""
    if isinstance(value, dict):
        return {name: defined(one) for name, one in value.items()}
    if isinstance(value, list):
        return [defined(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(spreads: dict[str, Spread]) -> dict[str, dict[str, float]]:
    """Return spreads as plain dictionaries, for JSON."""
    return {name: {"mean": spread.mean, "deviation": spread.deviation} for name, spread in spreads.items()}
