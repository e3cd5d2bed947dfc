"""A micro-batch: ragged rows, concatenated, with their offsets. Nothing is padded.

B rows · T tokens of all rows · M masked positions of all rows
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NO_LABEL = -100  # the next-sentence label of a row without loss: torch's default `ignore_index`


@dataclass(frozen=True)
class Batch:
    """The rows that one rank runs through the model at once."""

    input_ids: Tensor  # int64 [T], masks already applied
    token_type_ids: Tensor  # int64 [T], 0 in segment A, 1 in segment B
    position_ids: Tensor  # int64 [T], from 0 in each row
    offsets: Tensor  # int32 [B+1], cumulative lengths: row b is [offsets[b], offsets[b+1]) of the T axis
    max_length: int  # tokens of the longest row; a host number, so that reading it does not wait for a GPU
    masked_positions: Tensor  # int64 [M], indices into the T axis
    masked_ids: Tensor  # int64 [M], the original tokens there
    next_sentence_label: Tensor  # int64 [B]

    def __len__(self) -> int:
        return len(self.next_sentence_label)

    def to(self, device: torch.device) -> Batch:
        """Return this batch on `device`. The copy to a GPU is asynchronous, through pinned memory."""
        if device.type == self.input_ids.device.type:
            return self

        def moved(tensor: Tensor) -> Tensor:
            pinned = tensor.pin_memory() if device.type == "cuda" else tensor
            return pinned.to(device, non_blocking=True)

        return Batch(
            input_ids=moved(self.input_ids),
            token_type_ids=moved(self.token_type_ids),
            position_ids=moved(self.position_ids),
            offsets=moved(self.offsets),
            max_length=self.max_length,
            masked_positions=moved(self.masked_positions),
            masked_ids=moved(self.masked_ids),
            next_sentence_label=moved(self.next_sentence_label),
        )


def filler_batch(cls_id: int, sep_id: int) -> Batch:
    """Return one row `[CLS] [SEP]` without loss, for a rank whose share of a micro-step is empty.

    The rank takes part in every collective of the forward and backward pass, and adds zero to each sum.
    """
    return Batch(
        input_ids=torch.tensor([cls_id, sep_id]),
        token_type_ids=torch.zeros(2, dtype=torch.int64),
        position_ids=torch.arange(2),
        offsets=torch.tensor([0, 2], dtype=torch.int32),
        max_length=2,
        masked_positions=torch.empty(0, dtype=torch.int64),
        masked_ids=torch.empty(0, dtype=torch.int64),
        next_sentence_label=torch.tensor([NO_LABEL]),
    )
