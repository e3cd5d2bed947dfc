"""Classification of a text or a pair: one class, or any number of labels (Devlin et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from configs.errors import UserError
from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.labelled import LabelSet, Records
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.task import Answers, Item, Predictions, label_fields, only_class
from pretrain.transfer.tasks.text_task import TextTask


class Classification(TextTask):
    """A class for each text or pair."""

    watched = "accuracy"

    def __init__(
        self,
        labels: Sequence[str],
        vocabulary: Vocabulary,
        max_length: int,
        *,
        values: Mapping[str, Any] | None = None,
        positive: str | None = None,
        weights: Sequence[float] = (),
    ) -> None:
        super().__init__(vocabulary, max_length)
        self.labels = list(labels)
        self.values = dict(values or {name: name for name in labels})  # in the data's own types
        self.outputs = len(self.labels)
        self.weights = list(weights)
        self.positive = _positive(self.labels, positive)
        self.measures = ("accuracy", *(("f1",) if self.positive else ()), "macro_f1", "mcc")

    def target(self, record: dict[str, Any]) -> int:
        """Return the index of the record's class."""
        return self.labels.index(record["label"])

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the cross-entropy; with class weights, their weighted mean."""
        targets = torch.tensor([item.target for item in items], device=scores.device)
        return F.cross_entropy(
            scores, targets, torch.tensor(self.weights, device=scores.device) if self.weights else None
        )

    def weight(self, items: Sequence[Item]) -> float:
        """Return the sum of the items' class weights."""
        return sum(self.weights[item.target] for item in items) if self.weights else float(len(items))

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the probabilities of the classes, for each item."""
        return list(scores.softmax(-1).cpu().numpy())

    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the most probable class of each record, and the probabilities of all classes."""
        values = [self.values[name] for name in self._names(decoded)]
        return Predictions(values, [probabilities(self.labels, row) for row in decoded])

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted classes with their metrics."""
        made, found = self.predictions(records, items, decoded), self._names(decoded)
        truth = [record["label"] for record in records.records]
        wrong = [true != name for true, name in zip(truth, found, strict=True)]
        figures = metrics.classification(truth, found, self.positive)
        return Answers(made.values, figures, wrong, made.details, only_class(found, truth))

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' sequence classification model."""
        return {"architectures": ["BertForSequenceClassification"], **label_fields(self.labels)}

    def state(self) -> dict[str, Any]:
        """Return the names of the classes and how the data writes them."""
        return {"labels": self.labels, "values": [self.values[name] for name in self.labels]}

    def _names(self, decoded: Sequence[Any]) -> list[str]:
        return [self.labels[int(row.argmax())] for row in decoded]


class MultiLabel(TextTask):
    """Any number of labels for each text or pair, each with its own probability."""

    watched = "micro_f1"
    measures = ("micro_f1", "macro_f1", "exact_match")

    def __init__(
        self, labels: Sequence[str], vocabulary: Vocabulary, max_length: int, *, values: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(vocabulary, max_length)
        self.labels = list(labels)
        self.values = dict(values or {name: name for name in labels})
        self.outputs = len(self.labels)

    def target(self, record: dict[str, Any]) -> list[float]:
        """Return 1 for each of the record's labels, 0 for the others."""
        return [float(name in record["label"]) for name in self.labels]

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the binary cross-entropy, the mean over items and labels."""
        targets = torch.tensor([item.target for item in items], device=scores.device)
        return F.binary_cross_entropy_with_logits(scores, targets)

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the probability of each label, for each item."""
        return list(scores.sigmoid().cpu().numpy())

    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the labels of each record with a probability above one half, and the probabilities of all labels."""
        values = [[self.values[name] for name in found] for found in self._names(decoded)]
        return Predictions(values, [probabilities(self.labels, row) for row in decoded])

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted labels with their metrics; a record with any label wrong counts as wrong."""
        made, found = self.predictions(records, items, decoded), self._names(decoded)
        truth = [record["label"] for record in records.records]
        wrong = [set(true) != set(names) for true, names in zip(truth, found, strict=True)]
        sets = [[", ".join(names) or "no label" for names in side] for side in (found, truth)]
        return Answers(made.values, metrics.multi_label(truth, found), wrong, made.details, only_class(*sets))

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' sequence classification model for several labels."""
        architecture = {"architectures": ["BertForSequenceClassification"]}
        return {**architecture, "problem_type": "multi_label_classification", **label_fields(self.labels)}

    def state(self) -> dict[str, Any]:
        """Return the names of the labels and how the data writes them."""
        return {"labels": self.labels, "values": [self.values[name] for name in self.labels], "multi_label": True}

    def _names(self, decoded: Sequence[Any]) -> list[list[str]]:
        return [[name for name, value in zip(self.labels, row, strict=True) if value > 0.5] for row in decoded]


def balanced_weights(labels: LabelSet) -> list[float]:
    """Return the inverse frequency of each class in training, so that the mean over the records is 1."""
    counts = [labels.counts["training"][name] for name in labels.names]
    classes = sum(count > 0 for count in counts)
    return [sum(counts) / (classes * count) if count else 1.0 for count in counts]


def probabilities(labels: Sequence[str], row: Sequence[float]) -> dict[str, Any]:
    """Return the detail of a prediction: the probability of each label by its name."""
    return {"probabilities": {name: round(float(value), 6) for name, value in zip(labels, row, strict=True)}}


def _positive(labels: Sequence[str], named: str | None) -> str | None:
    """Return the class that f1 is about: of two classes the named one, or the last."""
    if named is None:
        return labels[-1] if len(labels) == 2 else None
    if len(labels) != 2 or named not in labels:
        cause = f"{named!r} is not one of two classes: {', '.join(labels)}"
        raise UserError(cause, place="task.positive", fix="name one of two classes, or remove it")
    return named
