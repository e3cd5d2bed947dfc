"""Local attention over ragged rows: each token attends to the tokens of its own row at most `reach` places away.

With `RowLayout.is_causal`, it attends only to itself and to those before it.

T tokens of all rows · A heads · D width of a head · K blocks of C tokens · S tokens that a block's tokens can see

On a GPU in 16 bits, torch's flash attention has a window. Otherwise the concatenated rows are cut into blocks of C
tokens, regardless of the rows' ends; a block attends to its S = C + 2 `reach` neighbours by matrix products, and scores
beyond the window or in another row become -inf. Time and memory grow with T times the window.

Dropout of the attention weights: a weight's column in the mask is its key's place in the window, so that every plain
form of this operation draws the same mask.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.kernels.attention.full import RowLayout, attend_flash, fits_flash
from pretrain.kernels.dropout import Dropout, keep_mask
from pretrain.kernels.logits import block_size, scored_keys


def attend_locally(qkv_T3AD: Tensor, layout: RowLayout, reach: int, dropout: Dropout | None = None) -> Tensor:
    """Return each head's mean of the values in the window, weighted by the softmax of the scaled scores: [T, A, D].

    `dropout` applies to the attention weights; it is None outside training.
    """
    if fits_flash(qkv_T3AD):
        return attend_flash(qkv_T3AD, layout, dropout, reach)
    return attend_in_blocks(qkv_T3AD, layout, reach, dropout)


def attend_in_window(qkv_T3AD: Tensor, layout: RowLayout, reach: int, dropout: Dropout | None = None) -> Tensor:
    """Compute `attend_locally` with the scores of all pairs of tokens: the reference, for few tokens."""
    query_ATD, key_ATD, value_ATD = qkv_T3AD.permute(1, 2, 0, 3)
    places_T = torch.arange(layout.tokens, device=qkv_T3AD.device)
    distances_TT = places_T - places_T[:, None]
    ahead = 0 if layout.is_causal else reach
    outside_TT = (distances_TT < -reach) | (distances_TT > ahead) | (layout.rows_T != layout.rows_T[:, None])
    scores_ATT = (query_ATD @ key_ATD.transpose(1, 2) / math.sqrt(key_ATD.shape[-1])).masked_fill(outside_TT, -math.inf)
    weights_ATT = scores_ATT.softmax(-1)
    if dropout is not None:
        columns_TT = (distances_TT + reach).clamp(0, 2 * reach)
        keep_ATW = _keep_mask(dropout, layout.tokens, len(weights_ATT), reach, weights_ATT.dtype).transpose(0, 1)
        keep_ATT = keep_ATW.gather(2, columns_TT.expand(len(weights_ATT), -1, -1))
        weights_ATT = weights_ATT * keep_ATT * dropout.scale
    mixed_ATD: Tensor = weights_ATT @ value_ATD
    return mixed_ATD.transpose(0, 1)


def attend_in_blocks(qkv_T3AD: Tensor, layout: RowLayout, reach: int, dropout: Dropout | None = None) -> Tensor:
    """Compute `attend_locally` in blocks: the path on CPUs."""
    heads, width = qkv_T3AD.shape[2:]
    size = block_size(reach)
    blocks = -(-layout.tokens // size)
    beyond = blocks * size - layout.tokens
    padded = F.pad(qkv_T3AD, (0, 0, 0, 0, 0, 0, reach, beyond + reach))
    query_KACD = padded[reach : reach + blocks * size, 0].view(blocks, size, heads, width).transpose(1, 2)
    key_KADS, value_KADS = padded[:, 1:].unfold(0, scored_keys(reach), size).unbind(1)
    scores_KACS = (query_KACD / math.sqrt(width)) @ key_KADS
    if reach not in layout.windows:
        layout.windows[reach] = _bias(layout, reach, size, beyond)
    bias_KCS = layout.windows[reach]
    weights_KACS = scores_KACS.add_(bias_KCS.to(scores_KACS.dtype)[:, None]).softmax(-1)
    if dropout is not None:
        weights_KACS = weights_KACS * _keep_in_blocks(dropout, layout.tokens, reach, weights_KACS) * dropout.scale
    mixed_KACD = weights_KACS @ value_KADS.transpose(2, 3)
    return mixed_KACD.transpose(1, 2).reshape(-1, heads, width)[: layout.tokens]


def _bias(layout: RowLayout, reach: int, size: int, beyond: int) -> Tensor:
    """Return the fp32 bias of the scores: 0 in the window and the row, else -inf. Padding attends to padding."""
    rows = F.pad(layout.rows_T, (reach, beyond + reach), value=-1)
    of_keys_KS = rows.unfold(0, size + 2 * reach, size)
    of_queries_KC = rows[reach : len(rows) - reach].view(-1, size)
    places_C, places_S = (torch.arange(count, device=rows.device) for count in (size, size + 2 * reach))
    distances_CS = places_S - places_C[:, None] - reach
    outside_CS = (distances_CS < -reach) | (distances_CS > (0 if layout.is_causal else reach))
    outside_KCS = (of_keys_KS[:, None] != of_queries_KC[:, :, None]) | outside_CS
    return torch.zeros_like(outside_KCS, dtype=torch.float32).masked_fill_(outside_KCS, -math.inf)


def _keep_mask(dropout: Dropout, tokens: int, heads: int, reach: int, dtype: torch.dtype) -> Tensor:
    """Return the mask of each token, head and place in the window: [T, A, 2 reach + 1]."""
    window = 2 * reach + 1
    return keep_mask(dropout, tokens * heads, window, dtype).view(tokens, heads, window)


def _keep_in_blocks(dropout: Dropout, tokens: int, reach: int, weights_KACS: Tensor) -> Tensor:
    """Return the mask of `weights_KACS`: a row's window begins at the row's own place in the block."""
    blocks, heads, size, span = weights_KACS.shape
    keep_TAW = _keep_mask(dropout, tokens, heads, reach, weights_KACS.dtype)
    # Padded to S + 1 places, rows of W places that follow each other begin one place later each.
    wide = F.pad(keep_TAW, (0, span + 1 - keep_TAW.shape[-1], 0, 0, 0, blocks * size - tokens))
    flat_KA = wide.view(blocks, size, heads, span + 1).transpose(1, 2).flatten(2)
    return flat_KA[..., : size * span].view(blocks, heads, size, span)
