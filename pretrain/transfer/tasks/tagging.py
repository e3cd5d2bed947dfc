"""Tagging: a label for each token of a sentence, predicted at the token's first word piece (section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from configs.errors import UserError
from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.readers import Records
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.task import UNLABELLED, Answers, Item, Task, count_unseen, label_names

OUTSIDE = "O"


class Tagging(Task):
    """Token classification, such as named entities, with B-, I- and O labels."""

    watched = "f1"
    per_token = True

    def __init__(self, training: Records, vocabulary: Vocabulary, max_length: int) -> None:
        self.tokenizer = vocabulary.tokenizer()
        self.tokenizer.enable_truncation(max_length)
        self.labels = label_names([label for record in training.records for label in record["labels"]])
        self.outputs = len(self.labels)
        if self.outputs < 2:
            cause = f"all tokens have the label {self.labels[0]!r}: there is nothing to learn"
            raise UserError(cause, place=training.place, fix="give sentences of two labels or more")

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one row per sentence. `places` holds the index of each token's first piece; None where it has none."""
        items = []
        if not training:
            count_unseen(records, [label for record in records.records for label in record["labels"]], self.labels)
        encodings = self.tokenizer.encode_batch([r["tokens"] for r in records.records], is_pretokenized=True)
        for number, (record, encoding) in enumerate(zip(records.records, encodings, strict=True)):
            first: dict[int, int] = {}
            for place, word in enumerate(encoding.word_ids):
                if word is not None:
                    first.setdefault(word, place)
            places = [first.get(word) for word in range(len(record["tokens"]))]
            lost = places.count(None)
            if lost:
                records.treated["tokens beyond the row or without a word piece: predicted as O"] += lost
            target = self._target(record["labels"], places, len(encoding.ids)) if training else None
            items.append(Item([TokenRow.of(encoding)], number, target, places))
        return items

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the cross-entropy at the first pieces."""
        targets = torch.tensor([label for item in items for label in item.target], device=scores.device)
        summed = F.cross_entropy(scores, targets, ignore_index=UNLABELLED, reduction="sum")
        return summed / (targets != UNLABELLED).sum().clamp(min=1)

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the best label of each token."""
        best = scores.argmax(-1).tolist()
        offsets = batch.offsets.tolist()
        return [
            [OUTSIDE if place is None else self.labels[best[begin + place]] for place in item.places]
            for begin, item in zip(offsets, items, strict=False)
        ]

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted labels; a sentence with any wrong label counts as wrong."""
        truth = [record["labels"] for record in records.records]
        wrong = [true != found for true, found in zip(truth, decoded, strict=True)]
        return Answers(list(decoded), metrics.entities(truth, list(decoded)), wrong)

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' token classification model."""
        return {
            "architectures": ["BertForTokenClassification"],
            "id2label": {str(number): label for number, label in enumerate(self.labels)},
            "label2id": {label: number for number, label in enumerate(self.labels)},
        }

    def _target(self, labels: Sequence[str], places: Sequence[int | None], length: int) -> list[int]:
        target = [UNLABELLED] * length
        for label, place in zip(labels, places, strict=True):
            if place is not None:
                target[place] = self.labels.index(label)
        return target
