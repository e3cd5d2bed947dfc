"""Attention over ragged rows: each token attends to the tokens of its own row (Vaswani et al. 2017, section 3.2).

With `RowLayout.is_causal`, it attends only to itself and to those before it.

T tokens of all rows · B rows · L tokens of the longest row · A heads · D width of a head

There is no custom kernel. On a GPU in 16 bits rows stay ragged: torch's flash attention accepts them with their
offsets. Otherwise rows are padded to the longest one, and attention is plain matrix products: in bf16 on a CPU this is
two to three times as fast as torch's own attention.

Dropout of the attention weights: the plain path draws its mask from the counter-based generator, like every other
dropout. Flash attention accepts no mask. It draws one from torch's CUDA generator and draws it again in its backward
pass, so its mask is repeatable with that generator's seed but differs from the plain path's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pretrain.kernels.dropout import Dropout, add_dropped


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of a batch begin and end. All layers of one forward pass share it."""

    offsets: Tensor  # int32 [B+1]: row b is [offsets[b], offsets[b+1]) of the T axis
    tokens: int  # T
    max_length: int  # L; a host number, so that reading it does not wait for a GPU
    is_causal: bool = False  # a token attends to itself and to tokens before it
    windows: dict[int, Tensor] = field(default_factory=dict, compare=False)  # kept by local attention, by its reach

    @cached_property
    def rows_T(self) -> Tensor:
        """The number of each token's row."""
        rows_B = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        return rows_B.repeat_interleave(self.offsets.diff(), output_size=self.tokens)

    @cached_property
    def places_T(self) -> Tensor:
        """The index of each token among the B·L positions of padded rows."""
        positions_T = torch.arange(self.tokens, device=self.offsets.device) - self.offsets[self.rows_T]
        return self.rows_T * self.max_length + positions_T

    @cached_property
    def future_LL(self) -> Tensor:
        """The fp32 bias added to scores if attention is causal: -inf where the key comes after the query, else 0."""
        size = (self.max_length, self.max_length)
        return torch.full(size, -math.inf, dtype=torch.float32, device=self.offsets.device).triu_(1)

    @cached_property
    def bias_BL(self) -> Tensor:
        """The fp32 bias added to the scores of padded keys: 0 for a token, -inf beyond a row's end."""
        positions_L = torch.arange(self.max_length, device=self.offsets.device)
        beyond_BL = positions_L >= self.offsets.diff()[:, None]
        return torch.zeros_like(beyond_BL, dtype=torch.float32).masked_fill_(beyond_BL, -math.inf)


def attend(qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None) -> Tensor:
    """Return each head's mean of the values, weighted by the softmax of the scaled scores: [T, A, D].

    `dropout` applies to the attention weights; it is None outside training.
    """
    return attend_flash(qkv_T3AD, layout, dropout) if fits_flash(qkv_T3AD) else attend_plain(qkv_T3AD, layout, dropout)


def fits_flash(qkv_T3AD: Tensor) -> bool:
    """Whether flash attention applies: an Ampere or newer GPU, 16 bits, a head width divisible by 8 and at most 256."""
    width, is_half = qkv_T3AD.shape[-1], qkv_T3AD.dtype in (torch.bfloat16, torch.float16)
    fits = qkv_T3AD.is_cuda and is_half and width % 8 == 0 and width <= 256
    return fits and torch.cuda.get_device_capability(qkv_T3AD.device) >= (8, 0)


def attend_plain(qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None) -> Tensor:
    """Compute `attend` over padded rows by matrix products and a softmax: the reference, and the path on CPUs."""
    rows, longest = len(layout.offsets) - 1, layout.max_length
    heads, width = qkv_T3AD.shape[2:]
    padded = qkv_T3AD.new_zeros(rows * longest, 3, heads, width).index_copy(0, layout.places_T, qkv_T3AD)
    by_head = padded.view(rows, longest, 3, heads, width).permute(2, 0, 3, 1, 4).reshape(3, -1, longest, width)
    query_NLD, key_NLD, value_NLD = by_head.unbind()  # N = B·A
    bias_N1L = layout.bias_BL.to(qkv_T3AD.dtype).repeat_interleave(heads, dim=0)[:, None]
    scores_NLL = torch.baddbmm(bias_N1L, query_NLD, key_NLD.transpose(1, 2), alpha=1 / math.sqrt(width))
    if layout.is_causal:
        scores_NLL = scores_NLL.add_(layout.future_LL.to(scores_NLL.dtype))
    weights_NLL = scores_NLL.softmax(-1)
    if dropout is not None:
        weights_NLL = add_dropped(weights_NLL.new_zeros(()), weights_NLL, dropout)
    mixed = (weights_NLL @ value_NLD).view(rows, heads, longest, width).transpose(1, 2).flatten(0, 1)
    return mixed.index_select(0, layout.places_T)


def attend_flash(
    qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None, reach: int | None = None
) -> Tensor:
    """Compute `attend` by torch's flash attention; with `reach`, only for keys at most that many places away."""
    from torch.nn.attention.varlen import (
        varlen_attn,  # imports torch's compiler, which takes 1.6 s that a CPU need not spend
    )

    query_TAD, key_TAD, value_TAD = qkv_T3AD.unbind(1)
    offsets, longest = layout.offsets, layout.max_length
    if dropout is None and reach is None and not layout.is_causal:
        mixed_TAD = varlen_attn(query_TAD, key_TAD, value_TAD, offsets, offsets, longest, longest)
    else:
        # The public function calls this operator without dropout, and its arguments differ between releases.
        probability = 0.0 if dropout is None else dropout.probability
        right = 0 if layout.is_causal else reach
        window = {} if reach is None else {"window_size_left": reach, "window_size_right": right}
        mixed_TAD, *_ = torch.ops.aten._flash_attention_forward(
            query_TAD,
            key_TAD,
            value_TAD,
            offsets,
            offsets,
            longest,
            longest,
            probability,
            layout.is_causal,
            False,
            **window,
        )
    assert isinstance(mixed_TAD, Tensor)  # a tuple only when more outputs are requested
    return mixed_TAD
