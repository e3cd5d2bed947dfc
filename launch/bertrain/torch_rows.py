"""The rows of a data set as tensors, under the names of transformers' `BertForPreTraining`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from typing_extensions import override

from bertrain.rows import IGNORED, RowSequence


class TorchRows(Dataset[dict[str, Tensor]]):
    """A map-style dataset. An item is a dict of int64 tensors of one row of L tokens:

    `input_ids`, `token_type_ids`, `attention_mask` and `labels` (-100 where nothing is predicted), each [L], and
    `next_sentence_label`, [], unless the objective is `none`.
    """

    def __init__(self, rows: RowSequence, pad_id: int, *, has_pairs: bool) -> None:
        self.rows = rows
        self.pad_id = pad_id
        self.has_pairs = has_pairs

    def __len__(self) -> int:
        return len(self.rows)

    @override
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.rows[index]
        input_ids = torch.tensor(row.input_ids.tolist())
        item = {
            "input_ids": input_ids,
            "token_type_ids": torch.from_numpy(row.token_type_ids),
            "attention_mask": torch.ones_like(input_ids),
            "labels": torch.from_numpy(row.labels),
        }
        return item | ({"next_sentence_label": torch.tensor(row.next_sentence_label)} if self.has_pairs else {})

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch of B items, padded to the longest: [B, L] each, `next_sentence_label` [B]. For `collate_fn`."""
        fillers = {"input_ids": self.pad_id, "token_type_ids": 0, "attention_mask": 0, "labels": IGNORED}
        batch = {
            name: pad_sequence([item[name] for item in items], batch_first=True, padding_value=filler)
            for name, filler in fillers.items()
        }
        if self.has_pairs:
            batch["next_sentence_label"] = torch.stack([item["next_sentence_label"] for item in items])
        return batch
