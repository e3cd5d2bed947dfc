"""Tokenised rows of a task or a text, and their ragged batches without padding, as in pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Encoding

from pretrain.model import NO_LABEL, Batch


@dataclass(frozen=True)
class TokenRow:
    """A row of word pieces, `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`."""

    input_ids: Sequence[int]
    token_type_ids: Sequence[int]

    @classmethod
    def of(cls, encoding: Encoding) -> TokenRow:
        """Return the row of a tokenizer's output for a text or a pair."""
        return cls(encoding.ids, encoding.type_ids)

    def __len__(self) -> int:
        return len(self.input_ids)


def batch_of(rows: Sequence[TokenRow], masked_positions: Sequence[int] = ()) -> Batch:
    """Concatenate the rows; `masked_positions` are indices into the tokens of all rows, for word scores there."""
    lengths = [len(row) for row in rows]
    offsets = np.append(0, np.cumsum(lengths))
    return Batch(
        input_ids=torch.tensor([piece for row in rows for piece in row.input_ids]),
        token_type_ids=torch.tensor([segment for row in rows for segment in row.token_type_ids]),
        position_ids=torch.cat([torch.arange(length) for length in lengths]),
        offsets=torch.from_numpy(offsets.astype(np.int32)),
        max_length=max(lengths),
        masked_positions=torch.tensor(masked_positions, dtype=torch.int64),
        masked_ids=torch.zeros(len(masked_positions), dtype=torch.int64),
        next_sentence_label=torch.full((len(rows),), NO_LABEL),
    )
