"""Regression on a text or a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.labelled import Records
from pretrain.transfer.tasks import metrics
from pretrain.transfer.tasks.task import Answers, Item, Predictions
from pretrain.transfer.tasks.text_task import TextTask


class Regression(TextTask):
    """A number for each text or pair. Training targets are standardised by the training labels' mean and deviation."""

    watched = "spearman"
    measures = ("pearson", "spearman")
    outputs = 1

    def __init__(
        self, vocabulary: Vocabulary, max_length: int, *, mean: float, deviation: float, label: str = "label"
    ) -> None:
        super().__init__(vocabulary, max_length)
        self.mean, self.deviation, self.label = mean, deviation, label

    def target(self, record: dict[str, Any]) -> float:
        """Return the standardised label."""
        return float((record["label"] - self.mean) / self.deviation)

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the mean squared error."""
        return F.mse_loss(scores.squeeze(-1), torch.tensor([item.target for item in items], device=scores.device))

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return predictions in the labels' units."""
        numbers: list[Any] = (scores.squeeze(-1) * self.deviation + self.mean).tolist()
        return numbers

    def predictions(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Predictions:
        """Return the predicted numbers."""
        return Predictions(list(decoded), [{}] * len(decoded))

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the predicted numbers; an error above one standard deviation counts as wrong."""
        truth = [record["label"] for record in records.records]
        wrong = [abs(true - found) > self.deviation for true, found in zip(truth, decoded, strict=True)]
        only = f"{decoded[0]:g}" if len(set(decoded)) == 1 and len(set(truth)) > 1 else ""
        return Answers(list(decoded), metrics.regression(truth, decoded), wrong, only=only)

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' sequence classification model with one output."""
        return {
            "architectures": ["BertForSequenceClassification"],
            "problem_type": "regression",
            "id2label": {"0": self.label},
            "label2id": {self.label: 0},
        }

    def state(self) -> dict[str, Any]:
        """Return the name of the label; a written head predicts in its units."""
        return {"label": self.label}

    @torch.no_grad()
    def rescale_head(self, classifier: nn.Linear) -> None:
        """Rescale the head in place to predict in the labels' units, for export."""
        classifier.weight.mul_(self.deviation)
        classifier.bias.mul_(self.deviation).add_(self.mean)
