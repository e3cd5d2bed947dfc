"""Multiple choice (section 4.4, SWAG): each choice is a row with the context; the highest score is the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.labelled import Records
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.task import Answers, Item, Predictions, Task, only_class, side_by_side


class Choice(Task):
    """Multiple choice; records can have different numbers of choices."""

    watched = "accuracy"
    measures = ("accuracy",)
    outputs = 1
    per_token = False

    def __init__(self, vocabulary: Vocabulary, max_length: int) -> None:
        self.max_length = max_length
        self.tokenizer = vocabulary.tokenizer()
        self.tokenizer.enable_truncation(max_length, strategy="longest_first")

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one item per record, with one row per choice."""
        items = []
        for number, record in enumerate(records.records):
            pairs = [(record["context"], text) for text in record["choices"]]
            if not all(text.strip() for pair in pairs for text in pair):
                records.treated["records with an empty context or choice: kept"] += 1
            encodings = self.tokenizer.encode_batch(pairs)
            if any(encoding.overflowing for encoding in encodings):
                records.treated[f"records with rows cut to {self.max_length} tokens"] += 1
            items.append(Item([TokenRow.of(encoding) for encoding in encodings], number, record.get("label")))
        return items

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the cross-entropy over each record's choices."""
        targets = torch.tensor([item.target for item in items], device=scores.device)
        return F.cross_entropy(self._by_item(scores, items), targets)

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the probability of each choice, for each record."""
        by_item = self._by_item(scores, items).softmax(-1).cpu().numpy()
        return [row[: len(item.rows)] for row, item in zip(by_item, items, strict=True)]

    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the indices of the most probable choices, and the probabilities of all choices."""
        details = [{"probabilities": [round(float(value), 6) for value in row]} for row in decoded]
        return Predictions([int(row.argmax()) for row in decoded], details)

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the indices of the predicted choices, with their accuracy."""
        made, truth = self.predictions(records, items, decoded), [record["label"] for record in records.records]
        wrong = [true != found for true, found in zip(truth, made.values, strict=True)]
        only = only_class(list(map(str, made.values)), list(map(str, truth)))
        return Answers(made.values, {"accuracy": 1 - sum(wrong) / len(wrong)}, wrong, made.details, only)

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' multiple choice model."""
        return {"architectures": ["BertForMultipleChoice"]}

    def _by_item(self, scores: Tensor, items: Sequence[Item]) -> Tensor:
        return side_by_side(scores.squeeze(-1), [len(item.rows) for item in items])
