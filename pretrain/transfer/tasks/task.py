"""The interface between a downstream task and the fine-tuning loop: rows, loss on the head's scores, answers, metrics.

B rows · T tokens of all rows · C outputs of the head · one item per text, pair or sentence, and per window of a
question; a multiple choice is one item of several rows
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from configs.errors import UserError
from pretrain.model import Batch, BertModel
from pretrain.transfer.labelled import Records
from pretrain.transfer.tasks.rows import TokenRow, batch_of

UNLABELLED = -100  # torch's default `ignore_index`


@dataclass(frozen=True)
class Item:
    """The unit of shuffling and batching. `target` and `places` are specific to the task."""

    rows: list[TokenRow]
    record: int  # its record's index
    target: Any = None  # the training target
    places: Any = None  # where the tokens are in the record

    def __len__(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Predictions:
    """A prediction for each record, in the labels' own types, and what else is known about it, e.g. probabilities."""

    values: list[Any]
    details: list[dict[str, Any]]


@dataclass(frozen=True)
class Answers:
    """A task's predictions for all records, in their order, with their metrics."""

    predictions: list[Any]
    metrics: dict[str, float]
    wrong: list[bool]
    details: list[dict[str, Any]] = field(default_factory=list)
    only: str = ""  # the class that all predictions are, though there are several to predict


class Task(ABC):
    """One kind of task; the records of its parts define its labels."""

    watched: str  # the metric by which the best epoch is chosen; higher is better
    measures: tuple[str, ...]  # the metrics that can be watched
    outputs: int  # the number of scores per token or row
    per_token: bool  # whether the head scores each token or each row

    @abstractmethod
    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Convert records to items. In training, set targets, and drop and count records that cannot be used."""

    @abstractmethod
    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the mean loss over the items of a batch; `scores` are [B, C], or [T, C] for a task per token."""

    def weight(self, items: Sequence[Item]) -> float:
        """Return the number, or the sum of weights, over which `loss` takes its mean."""
        return float(len(items))

    @abstractmethod
    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Reduce each item's scores to the host data that `predictions` and `answers` need."""

    @abstractmethod
    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the predictions for records, which need no labels."""

    @abstractmethod
    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predictions for labelled records, with metrics."""

    def tuned(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Task:
        """Return the task with thresholds chosen on these labelled records; itself if it has none."""
        return self

    def fields(self) -> dict[str, Any]:
        """Return the head's fields in Hugging Face's config.json."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs beside the recipe, as plain JSON values."""
        return {}

    def watch(self, metric: str | None) -> None:
        """Choose the best epoch by this metric; None keeps the usual one. Raises `UserError` for an unknown one."""
        if metric is not None and metric not in self.measures:
            fix = f"choose one of {', '.join(self.measures)}"
            raise UserError(f"this task has no metric {metric!r}", place="task.metric", fix=fix)
        self.watched = metric or self.watched


class TransferModel(nn.Module):
    """A pretrained encoder with a new head, one linear layer on the pooled first token or on each token."""

    def __init__(self, encoder: BertModel, task: Task, dropout: float, deviation: float) -> None:
        super().__init__()
        self.bert = encoder
        self.per_token = task.per_token
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.embeddings.word.embedding_dim, task.outputs)
        nn.init.normal_(self.classifier.weight, std=deviation)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return scores in fp32: [T, C], or [B, C]."""
        hidden_TH, pooled_BH = self.bert(batch)
        vectors = self.bert.token_vectors(hidden_TH, batch) if self.per_token else pooled_BH
        scores: Tensor = self.classifier(self.dropout(vectors))
        return scores.float()


def joined(items: Sequence[Item]) -> Batch:
    """Return the rows of all items as one ragged batch."""
    return batch_of([row for item in items for row in item.rows])


def side_by_side(scores: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the scores [N] of concatenated groups as [groups, longest], with -inf beyond a group's end."""
    return pad_sequence(list(torch.split(scores, list(lengths))), batch_first=True, padding_value=-torch.inf)


def only_class(predicted: Sequence[str], truth: Sequence[str]) -> str:
    """Return the class that all predictions are although the truth has several; empty otherwise."""
    return predicted[0] if len(set(predicted)) == 1 and len(set(truth)) > 1 else ""


def label_fields(names: Sequence[str]) -> dict[str, Any]:
    """Return a label map in Hugging Face's form."""
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }
