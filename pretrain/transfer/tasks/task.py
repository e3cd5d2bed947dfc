"""What a downstream task is to the fine-tuning loop: rows to run, a loss on the head's scores, answers, a score.

B rows · T tokens of all rows · C outputs of the head · items: one a text, pair or sentence; a question's windows are an
item each, a multiple choice is one item of several rows
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

UNLABELLED = -100  # torch's own `ignore_index`


@dataclass(frozen=True)
class Item:
    """The unit that is shuffled and batched: its rows and the number of its record; the rest is the task's affair."""

    rows: list[TokenRow]
    record: int
    target: Any = None  # what is to be learned
    places: Any = None  # where in the record the tokens stand

    def __len__(self) -> int:
        return sum(map(len, self.rows))


@dataclass(frozen=True)
class Answers:
    """A task's predictions for all records, in their order, with the figures they earn."""

    predictions: list[Any]
    metrics: dict[str, float]
    wrong: list[bool]


class Task(ABC):
    """One kind of task, fitted to its training records: it knows the labels that there are."""

    watched: str  # the metric by which the best epoch is chosen; higher is better
    outputs: int  # scores that the head gives
    per_token: bool  # whether to each token, or to each row

    @abstractmethod
    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Records as items. Targets are made in training alone; what cannot be trained on is dropped and counted."""

    @abstractmethod
    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """The mean loss over the items of a batch; `scores` are [B, C], or [T, C] of a task per token."""

    @abstractmethod
    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """What `answers` needs of each item's scores, on the host."""

    @abstractmethod
    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Predictions for the records, scored against them."""

    def fields(self) -> dict[str, Any]:
        """What Hugging Face's config.json says of the head."""
        return {}


class TransferModel(nn.Module):
    """A pretrained encoder with a fresh head of one linear layer: on the pooled first token, or on each token."""

    def __init__(self, encoder: BertModel, task: Task, dropout: float, deviation: float) -> None:
        super().__init__()
        self.bert = encoder
        self.per_token = task.per_token
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(encoder.embeddings.word.embedding_dim, task.outputs)
        nn.init.normal_(self.classifier.weight, std=deviation)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Scores in fp32: [T, C], or [B, C]."""
        hidden_TH, pooled_BH = self.bert(batch)
        scores: Tensor = self.classifier(self.dropout(hidden_TH if self.per_token else pooled_BH))
        return scores.float()


def joined(items: Sequence[Item]) -> Batch:
    """The rows of some items as one ragged batch."""
    return batch_of([row for item in items for row in item.rows])


def side_by_side(scores: Tensor, lengths: Sequence[int]) -> Tensor:
    """Scores [N] of groups of these lengths, one behind another, as [groups, longest]; -inf beyond a group's end."""
    return pad_sequence(list(torch.split(scores, list(lengths))), batch_first=True, padding_value=-torch.inf)


def label_names(values: Sequence[str]) -> list[str]:
    """The distinct labels, sorted."""
    return sorted(set(values))


def count_unseen(records: Records, values: Sequence[str], labels: Sequence[str]) -> None:
    """Count the labels that training has never seen: no prediction can be right there."""
    known = set(labels)
    unseen = sum(value not in known for value in values)
    if unseen:
        records.treated["labels unseen in training: counted as wrong"] += unseen
