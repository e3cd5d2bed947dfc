"""Tagging: a label for each token of a sentence, predicted at the token's first word piece (section 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.labelled import Records
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.schemes import OUTSIDE, Scheme, scheme_of
from pretrain.transfer.tasks.task import UNLABELLED, Answers, Item, Predictions, Task, label_fields, only_class

NO_LABEL = ""  # predicted for a token that no row contains, where the task has no O


class Tagging(Task):
    """Token classification: entities by their scheme, with F1; plain labels, with accuracy and macro F1."""

    per_token = True

    def __init__(
        self,
        labels: Sequence[str],
        vocabulary: Vocabulary,
        max_length: int,
        *,
        values: Mapping[str, Any] | None = None,
        place: str = "",
    ) -> None:
        self.tokenizer = vocabulary.tokenizer(of_words=True)
        self.tokenizer.enable_truncation(max_length)
        self.labels = list(labels)
        self.values = dict(values or {name: name for name in labels})  # in the data's own types
        self.outputs = len(self.labels)
        self.scheme = scheme_of(self.labels, place)
        self.outside = OUTSIDE if OUTSIDE in self.labels else NO_LABEL
        is_plain = self.scheme is Scheme.plain
        self.measures = ("accuracy", "macro_f1") if is_plain else ("f1", "precision", "recall", "accuracy")
        self.watched = ("macro_f1" if self.outside else "accuracy") if is_plain else "f1"

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one row per sentence. `places` holds the index of each token's first piece; None where it has none."""
        items = []
        encodings = self.tokenizer.encode_batch([r["tokens"] for r in records.records], is_pretokenized=True)
        for number, (record, encoding) in enumerate(zip(records.records, encodings, strict=True)):
            first: dict[int, int] = {}
            for place, word in enumerate(encoding.word_ids):
                if word is not None:
                    first.setdefault(word, place)
            places = [first.get(word) for word in range(len(record["tokens"]))]
            lost = places.count(None)
            if lost:
                predicted = self.outside or "no label"
                records.treated[f"tokens beyond the row or without a word piece: predicted as {predicted}"] += lost
            target = self._target(record["labels"], places, len(encoding.ids)) if training else None
            items.append(Item([TokenRow.of(encoding)], number, target, places))
        return items

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the cross-entropy at the first pieces."""
        targets = torch.tensor([label for item in items for label in item.target], device=scores.device)
        summed = F.cross_entropy(scores, targets, ignore_index=UNLABELLED, reduction="sum")
        return summed / (targets != UNLABELLED).sum().clamp(min=1)

    def weight(self, items: Sequence[Item]) -> float:
        """Return the number of labelled first pieces."""
        return float(sum(label != UNLABELLED for item in items for label in item.target))

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the best label of each token."""
        best = scores.argmax(-1).tolist()
        offsets = batch.offsets.tolist()
        return [
            [self.outside if place is None else self.labels[best[begin + place]] for place in item.places]
            for begin, item in zip(offsets, items, strict=False)
        ]

    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the predicted labels of each sentence."""
        values = [[self.values.get(name, name) for name in names] for names in decoded]
        return Predictions(values, [{}] * len(decoded))

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted labels; a sentence with any wrong label counts as wrong."""
        truth = [record["labels"] for record in records.records]
        wrong = [true != found for true, found in zip(truth, decoded, strict=True)]
        flat = [[label for sentence in side for label in sentence] for side in (decoded, truth)]
        figures = metrics.tags(truth, list(decoded), self.scheme)
        return Answers(self.predictions(records, items, decoded).values, figures, wrong, only=only_class(*flat))

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' token classification model."""
        return {"architectures": ["BertForTokenClassification"], **label_fields(self.labels)}

    def state(self) -> dict[str, Any]:
        """Return the labels and how the data writes them."""
        return {"labels": self.labels, "values": [self.values[name] for name in self.labels]}

    def _target(self, labels: Sequence[str], places: Sequence[int | None], length: int) -> list[int]:
        target = [UNLABELLED] * length
        for label, place in zip(labels, places, strict=True):
            if place is not None:
                target[place] = self.labels.index(label)
        return target
