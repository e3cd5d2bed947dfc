"""Multiple choice (section 4.4, SWAG): each choice is a row with the context; the highest score is the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from configs.errors import UserError
from preprocessing.vocabulary import Vocabulary
from pretrain.model import Batch
from pretrain.transfer.tasks.readers import CSV_FORMATS, Records, read_table
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.task import Answers, Item, Task, side_by_side

SWAG = ("sent1", "sent2", "ending0", "ending1", "ending2", "ending3", "label")


def read_choices(path: Path) -> Records:
    """Read SWAG's columns (CSV, TSV), or JSONL with `context`, `choices` and `label`, the correct choice's index."""
    made = read_table(path, SWAG if path.suffix in CSV_FORMATS else ("context", "choices", "label"))
    if path.suffix in CSV_FORMATS:
        made.records = [_of_swag(record) for record in made.records]
    for number, record in enumerate(made.records, 1):
        choices, label, place = record["choices"], str(record["label"]), f"{path}, record {number}"
        if not isinstance(choices, list) or len(choices) < 2:
            raise UserError("`choices` is not a list of two or more", place=place, fix="write all choices as a list")
        if not label.isdigit() or int(label) >= len(choices):
            raise UserError(f"label {label!r} is not a choice's index", place=place, fix="count choices from 0")
        record["label"] = int(label)
    return made


class Choice(Task):
    """Multiple choice; records can have different numbers of choices."""

    watched = "accuracy"
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
            pairs = [(str(record["context"]), str(text)) for text in record["choices"]]
            if not all(text.strip() for pair in pairs for text in pair):
                records.treated["records with an empty context or choice: kept"] += 1
            encodings = self.tokenizer.encode_batch(pairs)
            if any(encoding.overflowing for encoding in encodings):
                records.treated[f"records with rows cut to {self.max_length} tokens"] += 1
            items.append(Item([TokenRow.of(encoding) for encoding in encodings], number, record["label"]))
        return items

    def loss(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> Tensor:
        """Return the cross-entropy over each record's choices."""
        targets = torch.tensor([item.target for item in items], device=scores.device)
        return F.cross_entropy(self._by_item(scores, items), targets)

    def decode(self, scores: Tensor, batch: Batch, items: Sequence[Item]) -> list[Any]:
        """Return the index of each record's best choice."""
        best: list[Any] = self._by_item(scores, items).argmax(-1).tolist()
        return best

    def answers(self, records: Records, items: Sequence[Item], decoded: Sequence[Any]) -> Answers:
        """Return the indices of the predicted choices, with their accuracy."""
        truth = [record["label"] for record in records.records]
        wrong = [true != found for true, found in zip(truth, decoded, strict=True)]
        return Answers(list(decoded), {"accuracy": 1 - sum(wrong) / len(wrong)}, wrong)

    def fields(self) -> dict[str, Any]:
        """Return the fields of transformers' multiple choice model."""
        return {"architectures": ["BertForMultipleChoice"]}

    def _by_item(self, scores: Tensor, items: Sequence[Item]) -> Tensor:
        return side_by_side(scores.squeeze(-1), [len(item.rows) for item in items])


def _of_swag(record: dict[str, Any]) -> dict[str, Any]:
    endings = [f"{record['sent2']} {record[f'ending{number}']}" for number in range(4)]
    return {"context": record["sent1"], "choices": endings, "label": record["label"]}
