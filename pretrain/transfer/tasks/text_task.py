"""Texts and pairs as rows: the base of classification, multi-label classification and regression."""

from __future__ import annotations

from typing import Any

from preprocessing.vocabulary import Vocabulary
from pretrain.transfer.labelled import Records
from pretrain.transfer.tasks.rows import TokenRow
from pretrain.transfer.tasks.task import Item, Task


class TextTask(Task):
    """A prediction for each text, or each pair."""

    per_token = False

    def __init__(self, vocabulary: Vocabulary, max_length: int) -> None:
        self.max_length = max_length
        self.tokenizer = vocabulary.tokenizer()
        self.tokenizer.enable_truncation(max_length)

    def items(self, records: Records, *, training: bool) -> list[Item]:
        """Make one row per record. Long rows are truncated, the longer text first; empty texts are not trained on."""
        inputs = [tuple(record[name] for name in ("text", "text_b") if name in record) for record in records.records]
        encodings = self.tokenizer.encode_batch([pair if len(pair) > 1 else pair[0] for pair in inputs])
        items = []
        for number, (texts, encoding) in enumerate(zip(inputs, encodings, strict=True)):
            empty = not all(text.strip() for text in texts)
            if empty:
                records.treated["empty texts: " + ("not trained on" if training else "kept")] += 1
            if not (empty and training):
                target = self.target(records.records[number]) if training else None
                items.append(Item([TokenRow.of(encoding)], number, target))
            if encoding.overflowing:
                records.treated[f"texts cut to {self.max_length} tokens"] += 1
        return items

    def target(self, record: dict[str, Any]) -> Any:
        """Return a record's training target."""
        raise NotImplementedError
