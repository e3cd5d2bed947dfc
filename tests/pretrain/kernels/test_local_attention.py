from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from torch import Tensor

from pretrain.kernels.attention import RowLayout, attend_in_blocks, attend_in_window, attend_locally, attend_plain
from pretrain.kernels.dropout import Dropout
from tests.pretrain.kernels.near import (
    assert_near,
    assert_same_gradients,
    leaf_copies,
    random_gradient,
    random_tensors,
)
from tests.pretrain.kernels.test_attention import layout_of


def row_by_row(qkv_T3AD: Tensor, lengths: list[int], reach: int, *, is_causal: bool = False) -> Tensor:
    """Each token's mean over its window, written as a loop over rows and tokens."""
    rows = []
    for row_L3AD in torch.split(qkv_T3AD, lengths):
        for place in range(len(row_L3AD)):
            query_AD = row_L3AD[place, 0]
            end = place + 1 + (0 if is_causal else reach)
            key_WAD, value_WAD = row_L3AD[max(0, place - reach) : end, 1:].unbind(1)
            weights_WA = ((key_WAD * query_AD).sum(-1) / query_AD.shape[-1] ** 0.5).softmax(0)
            rows.append((weights_WA[..., None] * value_WAD).sum(0))
    return torch.stack(rows)


@settings(max_examples=20, deadline=None)
@example(lengths=[1], reach=1, heads=1, width=1, dtype=torch.float32, is_causal=False, seed=0)
@example(
    lengths=[70, 2, 33], reach=20, heads=2, width=4, dtype=torch.float32, is_causal=False, seed=0
)  # several blocks
@example(lengths=[70, 2, 33], reach=20, heads=2, width=4, dtype=torch.float32, is_causal=True, seed=0)  # several blocks
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    reach=st.integers(0, 40),
    heads=st.integers(1, 3),
    width=st.integers(1, 9),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    is_causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_each_token_attends_to_its_window(
    lengths: list[int], reach: int, heads: int, width: int, dtype: torch.dtype, is_causal: bool, seed: int
) -> None:
    (qkv,) = random_tensors([(sum(lengths), 3, heads, width)], dtype, seed)
    (copy, other) = leaf_copies([qkv, qkv])
    actual = attend_locally(qkv, layout_of(lengths, is_causal=is_causal), reach)
    expected = row_by_row(copy, lengths, reach, is_causal=is_causal)
    reference = attend_in_window(other, layout_of(lengths, is_causal=is_causal), reach)
    assert_near(actual, expected, dtype)
    assert_near(reference, expected, torch.float64)
    gradient = random_gradient(expected, seed)
    torch.autograd.backward([actual, expected, reference], [gradient.to(dtype), gradient, gradient])
    assert_same_gradients([other], [copy], torch.float64)
    if dtype is torch.float32:  # in bf16 the attention weights are rounded, which is visible near a uniform softmax
        assert_same_gradients([qkv], [copy], dtype)


def test_a_window_that_holds_every_row_is_global_attention() -> None:
    (qkv,) = random_tensors([(60, 3, 2, 8)], torch.float64, 3)
    for is_causal in (False, True):
        layout = layout_of([30, 1, 29], is_causal=is_causal)
        assert_near(attend_in_blocks(qkv, layout, 29), attend_plain(qkv, layout), torch.float64)


@pytest.mark.parametrize("attend", [attend_in_blocks, attend_in_window])
@pytest.mark.parametrize("dropout", [None, Dropout(0.4, torch.tensor(11), 3)])
def test_gradients_match_finite_differences(attend: object, dropout: Dropout | None) -> None:
    assert callable(attend)
    qkv = torch.randn(7, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    for is_causal in (False, True):
        layout = RowLayout(torch.tensor([0, 2, 7], dtype=torch.int32), 7, 5, is_causal)
        assert torch.autograd.gradcheck(lambda some, layout=layout: attend(some, layout, 2, dropout), (qkv,))


def test_blocks_draw_the_mask_of_the_reference() -> None:
    dropout = Dropout(0.5, torch.tensor(11), 3)
    (qkv,) = random_tensors([(90, 3, 2, 4)], torch.float64, 3)
    for reach in (1, 7, 30):
        for is_causal in (True, False):
            layout = layout_of([40, 3, 47], is_causal=is_causal)
            results = [attend(qkv, layout, reach, dropout) for attend in (attend_in_blocks, attend_in_window)]
            assert_near(results[0], results[1], torch.float64)
        assert not torch.equal(results[0], attend_in_blocks(qkv, layout_of([40, 3, 47]), reach))


def test_no_gradient_is_nan_where_the_last_block_is_padded() -> None:
    (qkv,) = random_tensors([(17, 3, 1, 2)], torch.float32, 3)
    attend_in_blocks(qkv, layout_of([17]), 4).sum().backward()  # type: ignore[no-untyped-call]  # torch has no types
    assert qkv.grad is not None
    assert bool(qkv.grad.isfinite().all())
