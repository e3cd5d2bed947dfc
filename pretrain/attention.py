"""Attention over ragged rows: each token attends to the tokens of its own row (Vaswani et al. 2017, section 3.2).

T tokens of all rows together · B rows · L longest row · A heads · D width of a head

On a GPU, without dropout and in 16 bits, torch's varlen kernel takes ragged rows as they are. Otherwise only the
attention itself is padded: queries, keys and values are scattered to [B, L], and what comes out is gathered back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from pretrain.batch import Batch


@dataclass(frozen=True)
class Layout:
    """Where the rows of a batch lie. Every layer of one forward pass shares it."""

    offsets: Tensor  # int32 [B+1]
    tokens: int
    max_length: int

    @classmethod
    def of(cls, batch: Batch) -> Layout:
        """The layout of a batch's rows."""
        return cls(batch.offsets, len(batch.input_ids), batch.max_length)

    @cached_property
    def places_T(self) -> Tensor:
        """The place of each token among the B·L places of padded rows. Its sizes are known: nothing waits for a GPU."""
        rows_B = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        rows_T = rows_B.repeat_interleave(self.offsets.diff(), output_size=self.tokens)
        positions_T = torch.arange(self.tokens, device=self.offsets.device) - self.offsets[rows_T]
        return rows_T * self.max_length + positions_T

    @cached_property
    def is_token_BL(self) -> Tensor:
        """True where a padded row has a token."""
        return torch.arange(self.max_length, device=self.offsets.device) < self.offsets.diff()[:, None]


def attend(qkv_T3AD: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Each head's mean of the values, weighted by the softmax of the scaled scores; shape [T, A, D].

    `dropout` is that of the attention weights, 0 outside training.
    """
    if not dropout and _fits_varlen_kernel(qkv_T3AD):
        return _attend_ragged(qkv_T3AD, layout)
    attend_padded = _attend_fused if qkv_T3AD.is_cuda else _attend_plain
    query_BALD, key_BALD, value_BALD = _pad(qkv_T3AD, layout)
    mixed_BALD = attend_padded(query_BALD, key_BALD, value_BALD, layout.is_token_BL[:, None, None], dropout)
    return mixed_BALD.transpose(1, 2).flatten(0, 1).index_select(0, layout.places_T)


def _fits_varlen_kernel(qkv_T3AD: Tensor) -> bool:
    """Flash attention: 16 bits, heads of a multiple of 8 up to 256, on an Ampere or later."""
    head_fits = qkv_T3AD.shape[-1] % 8 == 0 and qkv_T3AD.shape[-1] <= 256
    is_half = qkv_T3AD.dtype in (torch.bfloat16, torch.float16)
    return qkv_T3AD.is_cuda and head_fits and is_half and torch.cuda.get_device_capability(qkv_T3AD.device) >= (8, 0)


def _attend_ragged(qkv_T3AD: Tensor, layout: Layout) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # brings torch's compiler: 1.6 s that a CPU can do without

    query_TAD, key_TAD, value_TAD = qkv_T3AD.unbind(1)
    offsets, longest = layout.offsets, layout.max_length
    mixed_TAD = varlen_attn(query_TAD, key_TAD, value_TAD, offsets, offsets, longest, longest)
    assert isinstance(mixed_TAD, Tensor)  # it is a tuple only where more is asked for
    return mixed_TAD


def _attend_fused(
    query_BALD: Tensor, key_BALD: Tensor, value_BALD: Tensor, mask_B11L: Tensor, dropout: float
) -> Tensor:
    """The weights never lie in memory as a whole; for GPUs."""
    return F.scaled_dot_product_attention(query_BALD, key_BALD, value_BALD, attn_mask=mask_B11L, dropout_p=dropout)


def _attend_plain(
    query_BALD: Tensor, key_BALD: Tensor, value_BALD: Tensor, mask_B11L: Tensor, dropout: float
) -> Tensor:
    """Softmax in fp32. In bf16 on a CPU this takes half the time of torch's fused form or less."""
    scores_BALL = (query_BALD / math.sqrt(query_BALD.shape[-1])) @ key_BALD.transpose(-1, -2)
    scores_BALL.masked_fill_(~mask_B11L, -math.inf)
    weights_BALL = scores_BALL.softmax(-1, dtype=torch.float32).to(value_BALD.dtype)
    return F.dropout(weights_BALL, dropout) @ value_BALD


def _pad(qkv_T3AD: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as [B, A, L, D], zero beyond a row's end."""
    rows, longest = len(layout.offsets) - 1, layout.max_length
    padded = qkv_T3AD.new_zeros(rows * longest, *qkv_T3AD.shape[1:]).index_copy(0, layout.places_T, qkv_T3AD)
    query, key, value = padded.view(rows, longest, *padded.shape[1:]).permute(2, 0, 3, 1, 4)
    return query, key, value
