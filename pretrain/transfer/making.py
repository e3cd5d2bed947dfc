"""Making a task from its records, and restoring the task of a fine-tuned model from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev
from typing import Any

from configs.errors import UserError
from configs.transfer import FinetuneConfig, TaskConfig
from preprocessing.vocabulary import Vocabulary
from pretrain.transfer.labelled import LabelSet, Records, Splits, label_name
from pretrain.transfer.tasks import (
    Answering,
    Choice,
    Classification,
    MultiLabel,
    Regression,
    Tagging,
    Task,
    balanced_weights,
)

NOTHING_TO_LEARN = "there is nothing to learn"


def make_task(task: TaskConfig, settings: FinetuneConfig, vocabulary: Vocabulary, splits: Splits) -> Task:
    """Return the task for these records. The labels of all parts are in its label map."""
    made = _made(task, settings, vocabulary, splits)
    made.watch(task.metric)
    if settings.class_weights != "none" and not isinstance(made, Classification):
        cause = "the records of this task do not have one class each"
        raise UserError(cause, place="finetune.class_weights", fix='set it to "none" for this task')
    return made


def restore_task(task: TaskConfig, settings: FinetuneConfig, vocabulary: Vocabulary, state: dict[str, Any]) -> Task:
    """Return the task of a fine-tuned model from its recipe and from what `Task.state` returned."""
    length = settings.max_length
    if task.kind == "qa":
        return Answering(vocabulary, length, settings.stride, **state)
    if task.kind == "choice":
        return Choice(vocabulary, length)
    if task.regression:
        return Regression(vocabulary, length, mean=0.0, deviation=1.0, label=state["label"])
    values = dict(zip(state["labels"], state.get("values", state["labels"]), strict=True))
    if task.kind == "tag":
        return Tagging(state["labels"], vocabulary, length, values=values)
    if state.get("multi_label"):
        return MultiLabel(state["labels"], vocabulary, length, values=values)
    return Classification(state["labels"], vocabulary, length, values=values)


def _made(task: TaskConfig, settings: FinetuneConfig, vocabulary: Vocabulary, splits: Splits) -> Task:
    length, training = settings.max_length, splits.training
    if task.kind == "qa":
        may_abstain = not all(record["possible"] for record in training.records)
        return Answering(vocabulary, length, settings.stride, may_abstain=may_abstain)
    if task.kind == "choice":
        return Choice(vocabulary, length)
    if task.regression:
        return _regression(vocabulary, length, training)
    labels = splits.labels()
    _check_several(labels, training, "tokens" if task.kind == "tag" else "records")
    if task.kind == "tag":
        return Tagging(labels.names, vocabulary, length, values=labels.values, place=training.place)
    if isinstance(training.records[0]["label"], list):
        return MultiLabel(labels.names, vocabulary, length, values=labels.values)
    weights: Sequence[float] = balanced_weights(labels) if settings.class_weights == "balanced" else ()
    positive = task.positive and label_name(task.positive)
    return Classification(labels.names, vocabulary, length, values=labels.values, positive=positive, weights=weights)


def _regression(vocabulary: Vocabulary, length: int, training: Records) -> Regression:
    values = [record["label"] for record in training.records]
    mean, deviation = fmean(values), pstdev(values)
    if not deviation:
        cause = f"all records have the label {mean:g}: {NOTHING_TO_LEARN}"
        raise UserError(cause, place=training.place, fix="give records of different labels")
    return Regression(vocabulary, length, mean=mean, deviation=deviation, label=training.label_column or "label")


def _check_several(labels: LabelSet, training: Records, what: str) -> None:
    found = [name for name in labels.names if labels.counts["training"][name]]
    several_lists = isinstance(training.records[0].get("label"), list) and found
    if len(found) < 2 and not several_lists:
        cause = f"all {what} have the label {found[0]!r}: {NOTHING_TO_LEARN}" if found else "no record has a label"
        fix = f"give {what} of two labels or more, or set task.label to another column"
        raise UserError(cause, place=training.place, fix=fix)
