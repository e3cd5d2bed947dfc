"""Attention over ragged rows: each token attends to the tokens of its own row (Vaswani et al. 2017, section 3.2).

T tokens of all rows · B rows · L longest row · A heads · D width of a head

No kernel of ours. On a GPU in 16 bits rows stay ragged: torch's flash attention takes them with their offsets.
Otherwise they are padded to the longest, and attention is plain products: in bf16 on a CPU two to three times as fast
as torch's own.

Dropout of the attention weights: the plain path draws it from the counter-based generator, like every other dropout.
Flash attention draws it itself, from torch's CUDA generator, draws it again in its backward, and cannot be given a
mask: there it repeats with that generator's seed, and is not the plain path's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pretrain.kernels.dropout import Dropout, add_dropped


@dataclass(frozen=True)
class RowLayout:
    """Where the rows of a batch lie. Every layer of one forward pass shares it."""

    offsets: Tensor  # int32 [B+1]: row b is [offsets[b], offsets[b+1]) of the T axis
    tokens: int  # T
    max_length: int  # L; a host number, so that nothing waits for a GPU

    @cached_property
    def places_T(self) -> Tensor:
        """The place of each token among the B·L places of padded rows."""
        rows_B = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        rows_T = rows_B.repeat_interleave(self.offsets.diff(), output_size=self.tokens)
        positions_T = torch.arange(self.tokens, device=self.offsets.device) - self.offsets[rows_T]
        return rows_T * self.max_length + positions_T

    @cached_property
    def bias_BL(self) -> Tensor:
        """What to add to the scores of padded keys: 0 for a token, -inf beyond a row's end; fp32."""
        positions_L = torch.arange(self.max_length, device=self.offsets.device)
        beyond_BL = positions_L >= self.offsets.diff()[:, None]
        return torch.zeros_like(beyond_BL, dtype=torch.float32).masked_fill_(beyond_BL, -math.inf)


def attend(qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None) -> Tensor:
    """Each head's mean of the values, weighted by the softmax of the scaled scores: [T, A, D].

    `dropout` is that of the attention weights, None outside training.
    """
    return attend_flash(qkv_T3AD, layout, dropout) if fits_flash(qkv_T3AD) else attend_plain(qkv_T3AD, layout, dropout)


def fits_flash(qkv_T3AD: Tensor) -> bool:
    """On a GPU from Ampere on, 16 bits, heads of a multiple of 8 up to 256."""
    width, is_half = qkv_T3AD.shape[-1], qkv_T3AD.dtype in (torch.bfloat16, torch.float16)
    fits = qkv_T3AD.is_cuda and is_half and width % 8 == 0 and width <= 256
    return fits and torch.cuda.get_device_capability(qkv_T3AD.device) >= (8, 0)


def attend_plain(qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None) -> Tensor:
    """`attend` over padded rows, in matrix products and a softmax: the reference, and the path of CPUs."""
    rows, longest = len(layout.offsets) - 1, layout.max_length
    heads, width = qkv_T3AD.shape[2:]
    padded = qkv_T3AD.new_zeros(rows * longest, 3, heads, width).index_copy(0, layout.places_T, qkv_T3AD)
    by_head = padded.view(rows, longest, 3, heads, width).permute(2, 0, 3, 1, 4).reshape(3, -1, longest, width)
    query_NLD, key_NLD, value_NLD = by_head.unbind()  # N = B·A
    bias_N1L = layout.bias_BL.to(qkv_T3AD.dtype).repeat_interleave(heads, dim=0)[:, None]
    scores_NLL = torch.baddbmm(bias_N1L, query_NLD, key_NLD.transpose(1, 2), alpha=1 / math.sqrt(width))
    weights_NLL = scores_NLL.softmax(-1)
    if dropout is not None:
        weights_NLL = add_dropped(weights_NLL.new_zeros(()), weights_NLL, dropout)
    mixed = (weights_NLL @ value_NLD).view(rows, heads, longest, width).transpose(1, 2).flatten(0, 1)
    return mixed.index_select(0, layout.places_T)


def attend_flash(qkv_T3AD: Tensor, layout: RowLayout, dropout: Dropout | None = None) -> Tensor:
    """`attend` by torch's flash attention."""
    from torch.nn.attention.varlen import varlen_attn  # brings torch's compiler: 1.6 s that a CPU can do without

    query_TAD, key_TAD, value_TAD = qkv_T3AD.unbind(1)
    offsets, longest = layout.offsets, layout.max_length
    if dropout is None:
        mixed_TAD = varlen_attn(query_TAD, key_TAD, value_TAD, offsets, offsets, longest, longest)
    else:
        # The public function calls this operator with a dropout of 0 and has no argument for another.
        mixed_TAD, *_ = torch.ops.aten._flash_attention_forward(
            query_TAD, key_TAD, value_TAD, offsets, offsets, longest, longest, dropout.probability, False, False
        )
    assert isinstance(mixed_TAD, Tensor)  # it is a tuple only where more is asked for
    return mixed_TAD
