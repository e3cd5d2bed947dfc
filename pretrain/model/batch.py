"""A micro-batch: ragged rows, concatenated, with their offsets.

Nothing is padded to the longest row; `padded` adds whole rows.

B rows · T tokens of all rows · M masked positions of all rows
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.model.padding import Padding

NO_LABEL = -100  # the next-sentence label of a row without loss: torch's default `ignore_index`
NO_ID = -1  # the original token of a masked position without loss


@dataclass(frozen=True)
class Batch:
    """The rows that one rank runs through the model at once."""

    input_ids: Tensor  # int64 [T], masks already applied
    token_type_ids: Tensor  # int64 [T], 0 in segment A, 1 in segment B
    position_ids: Tensor  # int64 [T], from 0 in each row
    offsets: Tensor  # int32 [B+1], cumulative lengths: row b is [offsets[b], offsets[b+1]) of T; then filler
    max_length: int  # tokens of the longest row; a host number, so that reading it does not wait for a GPU
    masked_positions: Tensor  # int64 [M], indices into the T axis
    masked_ids: Tensor  # int64 [M], the original tokens there; `NO_ID` in filler rows
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


def padded(batch: Batch, padding: Padding, cls_id: int, sep_id: int) -> Batch:
    """Return the batch with `padding.rows` filler rows behind its own, or the batch itself if nothing is padded.

    Loss, gradients, and the dropout of other rows do not change. `next_sentence_label` stays that of the B own rows.
    """
    if not padding.rows:
        return batch
    own, own_masked = len(batch.input_ids), len(batch.masked_ids)
    tokens, masked = padding.sizes(own, own_masked)
    ends = own + (torch.arange(padding.rows + 1) * (tokens - own)).div(padding.rows, rounding_mode="floor")
    lengths = ends.diff()
    position_ids = torch.arange(own, tokens) - ends[:-1].repeat_interleave(lengths)
    input_ids = torch.where(position_ids == 0, cls_id, sep_id)
    places = own + position_ids.nonzero().squeeze(1)[: masked - own_masked]  # distinct, and no row's first token
    return Batch(
        input_ids=torch.cat([batch.input_ids, input_ids]),
        token_type_ids=torch.cat([batch.token_type_ids, torch.zeros_like(input_ids)]),
        position_ids=torch.cat([batch.position_ids, position_ids]),
        offsets=torch.cat([batch.offsets, ends[1:].to(batch.offsets.dtype)]),
        max_length=max(batch.max_length, int(lengths.max())),
        masked_positions=torch.cat([batch.masked_positions, places]),
        masked_ids=torch.cat([batch.masked_ids, torch.full_like(places, NO_ID)]),
        next_sentence_label=batch.next_sentence_label,
    )
