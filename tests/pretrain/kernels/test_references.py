"""The plain-torch operations: their gradients, and the precision that torch's own would lose in 16 bits on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pretrain.kernels import add_norm as sublayer_end, embedding, gelu
from pretrain.kernels.add_norm import layer_norm
from pretrain.kernels.dropout import Dropout, keep_mask
from pretrain.kernels.embedding import lookup
from tests.pretrain.kernels.near import random_tensors, untyped

add_norm, embed, bias_gelu = untyped(sublayer_end.add_norm), untyped(embedding.embed), untyped(gelu.bias_gelu)

DROPOUT = Dropout(0.3, torch.tensor(17), 2)
IDS = (torch.tensor([4, 0, 4, 6, 1]), torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 0, 1, 0, 1]))
TABLES = [(7, 6), (3, 6), (2, 6), (6,), (6,)]


def cpu_tensors(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [tensor.detach().cpu().requires_grad_() for tensor in random_tensors(shapes, dtype, seed=3)]


@pytest.mark.parametrize("dropout", [None, DROPOUT])
def test_gradients_match_finite_differences(dropout: Dropout | None) -> None:
    shapes: list[tuple[int, ...]] = [(5, 6), (6,), (5, 6), (6,), (6,)]
    assert torch.autograd.gradcheck(lambda *inputs: add_norm(*inputs, 1e-5, dropout), cpu_tensors(shapes))
    assert torch.autograd.gradcheck(lambda *tables: embed(*IDS, *tables, 1e-5, dropout), cpu_tensors(TABLES))
    assert torch.autograd.gradcheck(bias_gelu, cpu_tensors([(5, 6), (6,)]))


def test_add_norm_matches_the_published_sublayer() -> None:
    x, bias, residual, weight, shift = cpu_tensors([(5, 6), (6,), (5, 6), (6,), (6,)])
    kept = keep_mask(DROPOUT, 5, 6, torch.float64)
    expected = F.layer_norm(residual + (x + bias) * kept * DROPOUT.scale, (6,), weight, shift, 1e-12)
    torch.testing.assert_close(add_norm(x, bias, residual, weight, shift, 1e-12, DROPOUT), expected)


def test_embed_normalises_the_sum_of_three_rows() -> None:
    word, position, token_type, weight, shift = cpu_tensors(TABLES)
    expected = F.layer_norm(word[IDS[0]] + position[IDS[1]] + token_type[IDS[2]], (6,), weight, shift, 1e-12)
    torch.testing.assert_close(embed(*IDS, word, position, token_type, weight, shift, 1e-12), expected)


def test_gradient_of_a_frequent_token_does_not_saturate_in_bf16() -> None:
    table = torch.zeros(3, 4, dtype=torch.bfloat16, requires_grad=True)
    lookup(table, torch.full((1000,), 2)).sum().backward()  # type: ignore[no-untyped-call]  # torch has no types
    assert table.grad is not None
    assert table.grad.dtype == torch.bfloat16
    assert table.grad[2].tolist() == [1000.0] * 4


def test_layer_norm_gradients_do_not_saturate_in_bf16() -> None:
    weight = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    shift = torch.zeros(4, dtype=torch.bfloat16, requires_grad=True)
    hidden = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.bfloat16).expand(1000, 4)
    result = layer_norm(hidden, weight, shift, 0.0)
    result.sum().backward()  # type: ignore[no-untyped-call]  # torch has no types
    assert result.dtype == torch.bfloat16
    assert weight.grad is not None
    assert shift.grad is not None
    assert weight.grad.tolist() == [1000.0, -1000.0, 1000.0, -1000.0]
    assert shift.grad.tolist() == [1000.0] * 4
