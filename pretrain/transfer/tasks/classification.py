"""Classification of a text or a pair, and regression on a pair (Devlin et al. 2019, section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import UserError
from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.readers import Records
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.task import Answers, Item, Task, count_unseen, label_names


class TextTask(Task):
    """The base of classification and regression: converts texts to rows."""

    per_token = False

    def __init__(self, vocabulary: Vocabulary, max_length: int, texts: Sequence[str], label: str) -> None:
        self.texts = texts  # one or two columns
        self.label = label
        self.max_length = max_length
        self.tokenizer = vocabulary.tokenizer()
        self.tokenizer.enable_truncation(max_length)

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one row per record. Long rows are truncated, the longer text first; empty texts are not trained on."""
        inputs = [tuple(str(record[text]) for text in self.texts) for record in records.records]
        encodings = self.tokenizer.encode_batch([pair if len(pair) > 1 else pair[0] for pair in inputs])
        items = []
        for number, (texts, encoding) in enumerate(zip(inputs, encodings, strict=True)):
            empty = not all(text.strip() for text in texts)
            if empty:
                records.treated["empty texts: " + ("dropped" if training else "kept")] += 1
            if not (empty and training):
                target = self.target(records.records[number]) if training else None
                items.append(Item([TokenRow.of(encoding)], number, target))
            if encoding.overflowing:
                records.treated[f"texts cut to {self.max_length} tokens"] += 1
        return items

    def target(self, record: dict[str, Any]) -> Any:
        """Return a record's training target."""
        raise NotImplementedError


class Classification(TextTask):
    """A class for each text or pair."""

    watched = "accuracy"

    def __init__(
        self, training: Records, vocabulary: Vocabulary, max_length: int, texts: Sequence[str], label: str
    ) -> None:
        super().__init__(vocabulary, max_length, texts, label)
        self.labels = label_names([str(record[label]) for record in training.records])
        self.outputs = len(self.labels)
        if self.outputs < 2:
            cause = f"all records have the label {self.labels[0]!r}: there is nothing to learn"
            fix = "give records of two classes or more, or set `label` to another column"
            raise UserError(cause, place=training.place, fix=fix)

    def target(self, record: dict[str, Any]) -> int:
        """Return the index of the record's class."""
        return self.labels.index(str(record[self.label]))

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one row per record, and count labels that do not occur in training."""
        if not training:
            count_unseen(records, [str(record[self.label]) for record in records.records], self.labels)
        return super().items(records, training=training)

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the cross-entropy."""
        return F.cross_entropy(scores, torch.tensor([item.target for item in items], device=scores.device))

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the best class of each item."""
        return [self.labels[number] for number in scores.argmax(-1).tolist()]

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted classes, scored as strings: a label that does not occur in training counts as wrong."""
        truth = [str(record[self.label]) for record in records.records]
        wrong = [true != found for true, found in zip(truth, decoded, strict=True)]
        return Answers(list(decoded), metrics.classification(truth, decoded), wrong)

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' sequence classification model."""
        return {
            "architectures": ["BertForSequenceClassification"],
            "id2label": {str(number): label for number, label in enumerate(self.labels)},
            "label2id": {label: number for number, label in enumerate(self.labels)},
        }


class Regression(TextTask):
    """A number for each pair. Training targets are standardised by the training labels' mean and deviation."""

    watched = "spearman"
    outputs = 1

    def __init__(
        self, training: Records, vocabulary: Vocabulary, max_length: int, texts: Sequence[str], label: str
    ) -> None:
        super().__init__(vocabulary, max_length, texts, label)
        values = torch.tensor([self._number(record, training.place) for record in training.records])
        self.mean, self.deviation = float(values.mean()), float(values.std(correction=0))
        if not self.deviation:
            cause = f"all records have the label {self.mean:g}: there is nothing to learn"
            raise UserError(cause, place=training.place, fix="give records of different labels")

    def target(self, record: dict[str, Any]) -> float:
        """Return the standardised label."""
        return (self._number(record, self.label) - self.mean) / self.deviation

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(scores.squeeze(-1), torch.tensor([item.target for item in items], device=scores.device))

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return predictions in the labels' units."""
        numbers: list[Any] = (scores.squeeze(-1) * self.deviation + self.mean).tolist()
        return numbers

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted numbers; an error above one standard deviation counts as wrong."""
        truth = [self._number(record, records.place) for record in records.records]
        wrong = [abs(true - found) > self.deviation for true, found in zip(truth, decoded, strict=True)]
        return Answers(list(decoded), metrics.regression(truth, decoded), wrong)

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' sequence classification model with one output."""
        return {
            "architectures": ["BertForSequenceClassification"],
            "problem_type": "regression",
            "id2label": {"0": self.label},
            "label2id": {self.label: 0},
        }

    @torch.no_grad()
    def rescale_head(self, classifier: nn.Linear) -> None:
        """Rescale the head in place to predict in the labels' units, for export."""
        classifier.weight.mul_(self.deviation)
        classifier.bias.mul_(self.deviation).add_(self.mean)

    def _number(self, record: dict[str, Any], place: str) -> float:
        try:
            number = float(record[self.label])
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            cause = f"the label {record[self.label]!r} is not a number"
            raise UserError(cause, place=place, fix="fix that record, or remove `regression`")
        return number
