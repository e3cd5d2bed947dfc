"""Tokenised rows of a task or a text, and their ragged batches without padding, as in pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Encoding

from preprocessing.vocabulary import CLS, SEP, UNK, Vocabulary
from pretrain.model import NO_LABEL, Batch

MANY_UNKNOWN = 0.05  # a share from which to warn: a text of the model's language and casing has far fewer


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


def count_unknown(rows: Iterable[TokenRow], vocabulary: Vocabulary) -> tuple[int, int]:
    """Return the number of [UNK] and of all word pieces in the rows, [CLS] and [SEP] left out."""
    unknown = pieces = 0
    for row in rows:
        ids = list(row.input_ids)
        unknown += ids.count(vocabulary.id_of(UNK))
        pieces += len(ids) - ids.count(vocabulary.id_of(CLS)) - ids.count(vocabulary.id_of(SEP))
    return unknown, pieces


def about_unknown(unknown: int, pieces: int) -> str:
    """Return a warning if a large share of the word pieces is [UNK]; an empty text otherwise."""
    if unknown < MANY_UNKNOWN * pieces or not unknown:
        return ""
    advice = "the model's vocabulary does not fit; use a model of this language, script and casing"
    return f"{unknown / pieces:.0%} of the word pieces are [UNK]: {advice}"


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
