"""The interface between a downstream task and the fine-tuning loop: rows, loss on the head's scores, answers, metrics.

B rows · T tokens of all rows · C outputs of the head · one item per text, pair or sentence, and per window of a
question; a multiple choice is one item of several rows
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pretrain.model import Batch, BertModel
from pretrain.transfer.tasks.readers import Records
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
class Answers:
    """A task's predictions for all records, in their order, with their metrics."""

    predictions: list[Any]
    metrics: dict[str, float]
    wrong: list[bool]


class Task(ABC):
    """One kind of task; its training records define its labels."""

    watched: str  # the metric by which the best epoch is chosen; higher is better
    outputs: int  # the number of scores per token or row
    per_token: bool  # whether the head scores each token or each row

    @abstractmethod
    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Convert records to items. In training, set targets, and drop and count records that cannot be used."""

    @abstractmethod
    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the mean loss over the items of a batch; `scores` are [B, C], or [T, C] for a task per token."""

    @abstractmethod
    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Reduce each item's scores to the host data that `answers` needs."""

    @abstractmethod
    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predictions for the records, with metrics."""

    def fields(self) -> dict[str, Any]:
        """Return the head's fields in Hugging Face's config.json."""
        return {}


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
        scores: Tensor = self.classifier(self.dropout(hidden_TH if self.per_token else pooled_BH))
        return scores.float()


def joined(items: Sequence[Item]) -> Batch:
    """Return the rows of all items as one ragged batch."""
    return batch_of([row for item in items for row in item.rows])


def side_by_side(scores: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the scores [N] of concatenated groups as [groups, longest], with -inf beyond a group's end."""
    return pad_sequence(list(torch.split(scores, list(lengths))), batch_first=True, padding_value=-torch.inf)


def label_names(values: Sequence[str]) -> list[str]:
    """Return the distinct labels, sorted."""
    return sorted(set(values))


def count_unseen(records: Records, values: Sequence[str], labels: Sequence[str]) -> None:
    """Count labels that do not occur in training; every prediction for them is wrong."""
    known = set(labels)
    unseen = sum(value not in known for value in values)
    if unseen:
        records.treated["labels unseen in training: counted as wrong"] += unseen
