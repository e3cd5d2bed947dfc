from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor
from torch.nn import functional as F

from pretrain.kernels.attention import RowLayout, attend, attend_plain
from pretrain.kernels.dropout import Dropout, keep_mask
from tests.pretrain.kernels.near import (
    DEVICE,
    assert_near,
    assert_same_gradients,
    leaf_copies,
    random_gradient,
    random_tensors,
)


def layout_of(lengths: list[int], *, is_causal: bool = False) -> RowLayout:
    offsets = torch.tensor([0, *lengths]).cumsum(0).to(DEVICE, torch.int32)
    return RowLayout(offsets, sum(lengths), max(lengths), is_causal)


def row_by_row(qkv_T3AD: Tensor, lengths: list[int], *, is_causal: bool = False) -> Tensor:
    rows = [row_L3AD.permute(1, 2, 0, 3) for row_L3AD in torch.split(qkv_T3AD, lengths)]
    mixed = []
    for query_ALD, key_ALD, value_ALD in rows:
        mixed.append(F.scaled_dot_product_attention(query_ALD, key_ALD, value_ALD, is_causal=is_causal))
    return torch.cat([row_ALD.transpose(0, 1) for row_ALD in mixed])


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    width=st.integers(1, 9),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    is_causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_each_row_attends_to_itself_only(
    lengths: list[int], heads: int, width: int, dtype: torch.dtype, is_causal: bool, seed: int
) -> None:
    (qkv,) = random_tensors([(sum(lengths), 3, heads, width)], dtype, seed)
    (copy,) = leaf_copies([qkv])
    actual = attend_plain(qkv, layout_of(lengths, is_causal=is_causal))
    expected = row_by_row(copy, lengths, is_causal=is_causal)
    assert_near(actual, expected, dtype)
    gradient = random_gradient(expected, seed)
    torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient])
    if dtype is torch.float32:  # in bf16 the attention weights are rounded, which is visible near a uniform softmax
        assert_same_gradients([qkv], [copy], dtype)


@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_match_finite_differences(is_causal: bool) -> None:
    qkv = torch.randn(6, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    layout = RowLayout(torch.tensor([0, 2, 6], dtype=torch.int32), 6, 4, is_causal)
    dropout = Dropout(0.4, torch.tensor(11), 3)
    assert torch.autograd.gradcheck(lambda some: attend_plain(some, layout, dropout), (qkv,))


def test_dropout_applies_to_the_attention_weights() -> None:
    dropout = Dropout(0.5, torch.tensor(11), 3)
    qkv = torch.zeros(4, 3, 1, 2)
    qkv[:, 2] = torch.eye(4)[:, None, :2] * 8  # uniform attention weights of 1/4
    kept = keep_mask(dropout, 4, 4, torch.float32) * dropout.scale / 4
    mixed = attend(qkv, RowLayout(torch.tensor([0, 4], dtype=torch.int32), 4, 4), dropout)
    torch.testing.assert_close(mixed, (kept @ qkv[:, 2, 0])[:, None])
