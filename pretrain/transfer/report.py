"""The output files of a fine-tuning.

report.json          settings, sizes, counts of skipped and changed records, metrics of every seed, mean and deviation
seed_0/ …            predictions.jsonl: every test record with its prediction; errors.jsonl: the wrong ones
tb/                  TensorBoard files: loss and validation metrics by step
model/               the best seed's model, in Hugging Face's form
learning_curve.png   metrics over the number of labels, if requested (pictures.py)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.files import atomic_write_text
from pretrain.huggingface import Pretrained, write_hugging_face_folder
from pretrain.transfer.finetuning import ReportEpoch, TaskItems
from pretrain.transfer.tasks import Answers, Records, Regression, Task, TransferModel
from pretrain.transfer.trials import Spread

HEADS = {"BertForQuestionAnswering": "qa_outputs"}  # transformers' name of the head if it is not `classifier`


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
    lines = [
        json.dumps({**record, "prediction": prediction}, ensure_ascii=False) + "\n"
        for record, prediction in zip(records.records, answers.predictions, strict=True)
    ]
    atomic_write_text(folder / "predictions.jsonl", "".join(lines))
    wrong = [line for line, is_wrong in zip(lines, answers.wrong, strict=True) if is_wrong]
    atomic_write_text(folder / "errors.jsonl", "".join(wrong))


def write_model(folder: Path, source: Pretrained, task: Task, model: TransferModel) -> None:
    """Write a fine-tuned model as a Hugging Face folder, for the `AutoModelFor…` class of its task."""
    if isinstance(task, Regression):
        task.rescale_head(model.classifier)
    fields = task.fields()
    state = model.state_dict()
    head = HEADS.get(fields["architectures"][0], "classifier")
    ours = {
        name: weight
        for name, weight in state.items()
        if name.startswith("bert.") and not (task.per_token and name.startswith("bert.pooler"))
    }
    theirs = {f"{head}.{kind}": state[f"classifier.{kind}"] for kind in ("weight", "bias")}
    folder.mkdir(parents=True)
    write_hugging_face_folder(folder, source.config, source.vocabulary, ours, theirs, **fields)


def sizes(data: TaskItems) -> dict[str, Any]:
    """Return each part's number of records, and its counts of skipped and changed ones by cause."""
    parts = {"training": data.splits.training, "validation": data.splits.validation, "test": data.splits.test}
    return {name: {"records": len(part), "treated": dict(part.treated)} for name, part in parts.items()}


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
