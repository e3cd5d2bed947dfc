"""BERT's input, dropout(LayerNorm(word + position + token type)), and ModernBERT's, dropout(LayerNorm(word)).

T tokens, H the hidden width, V the vocabulary size, P positions, S token types.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pretrain.kernels.add_norm import layer_norm
from pretrain.kernels.dropout import Dropout, add_dropped


def embed(
    word_ids_T: Tensor,
    position_ids_T: Tensor,
    token_type_ids_T: Tensor,
    word_VH: Tensor,
    position_PH: Tensor,
    token_type_SH: Tensor,
    weight_H: Tensor,
    shift_H: Tensor,
    epsilon: float,
    dropout: Dropout | None = None,
) -> Tensor:
    """Return the embedded tokens [T, H] in the tables' dtype. Ids are int32 or int64 and must be valid rows."""
    ids, tables = (word_ids_T, position_ids_T, token_type_ids_T), (word_VH, position_PH, token_type_SH)
    return _dropped(layer_norm(_summed(ids, tables), weight_H, shift_H, epsilon), dropout)


def embed_sum(
    word_ids_T: Tensor,
    position_ids_T: Tensor,
    token_type_ids_T: Tensor,
    word_VH: Tensor,
    position_PH: Tensor,
    token_type_SH: Tensor,
    dropout: Dropout | None = None,
) -> Tensor:
    """Return `embed` without its LayerNorm, for the pre-LayerNorm form."""
    ids, tables = (word_ids_T, position_ids_T, token_type_ids_T), (word_VH, position_PH, token_type_SH)
    return _dropped(_summed(ids, tables), dropout)


def embed_words(
    word_ids_T: Tensor, word_VH: Tensor, weight_H: Tensor, epsilon: float, dropout: Dropout | None = None
) -> Tensor:
    """Return the normalised word vectors, without shift: [T, H] in the table's dtype."""
    return _dropped(layer_norm(lookup(word_VH, word_ids_T), weight_H, None, epsilon), dropout)


def lookup(table_NH: Tensor, ids_T: Tensor) -> Tensor:
    """Return the rows `ids_T` of a table; their gradients are summed in fp32 or wider.

    On a CPU torch sums them in the table's own precision: in bf16 a frequent token's gradient stops growing after a few
    hundred terms, because each term is then less than half a unit in the last place.
    """
    rows: Tensor = _Lookup.apply(table_NH, ids_T)  # type: ignore[no-untyped-call]  # torch's own has no types
    return rows


def table_gradient(grad_TH: Tensor, ids_T: Tensor, table_NH: Tensor) -> Tensor:
    """Return the gradient of a table [N, H] from the gradient of the rows read from it.

    torch's CUDA kernel sorts the ids and sums each id's rows in fp32. It is repeatable in torch's deterministic mode;
    otherwise it may use atomics where few ids have many rows. On a CPU, 16-bit gradients are summed in fp32 for the ids
    that occur, and then copied into the table.
    """
    if grad_TH.is_cuda or grad_TH.dtype.itemsize > 2:
        return _added(grad_TH, ids_T, len(table_NH)).to(table_NH.dtype)
    used_U, places_T = torch.unique(ids_T.long(), return_inverse=True)
    grad_UH = _added(grad_TH.float(), places_T, len(used_U)).to(table_NH.dtype)
    return torch.zeros_like(table_NH).index_copy_(0, used_U, grad_UH)


def _summed(ids: tuple[Tensor, Tensor, Tensor], tables: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    word_TH, position_TH, token_type_TH = (lookup(table, some) for table, some in zip(tables, ids, strict=True))
    return word_TH + position_TH + token_type_TH


def _dropped(hidden_TH: Tensor, dropout: Dropout | None) -> Tensor:
    return hidden_TH if dropout is None else add_dropped(hidden_TH.new_zeros(()), hidden_TH, dropout)


def _added(grad_TH: Tensor, ids_T: Tensor, rows: int) -> Tensor:
    added: Tensor = torch.ops.aten.embedding_dense_backward(grad_TH, ids_T, rows, -1, False)
    return added


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table_NH: Tensor, ids_T: Tensor) -> Tensor:
        ctx.save_for_backward(table_NH, ids_T)
        return F.embedding(ids_T, table_NH)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: Tensor) -> tuple[Tensor, None]:
        table_NH, ids_T = ctx.saved_tensors
        return table_gradient(grad_TH, ids_T, table_NH), None
