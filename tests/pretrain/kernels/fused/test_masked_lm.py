from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings, strategies as st

from pretrain.kernels import masked_lm as chunks
from pretrain.kernels.fused import masked_lm as module
from pretrain.kernels.fused.masked_lm import cross_entropy
from pretrain.kernels.masked_lm import cross_entropy as plain_cross_entropy
from tests.pretrain.kernels.near import DEVICE, assert_near, assert_same_gradients, leaf_copies, random_tensors, untyped

masked_lm, plain_masked_lm = untyped(module.masked_lm), untyped(chunks.plain_masked_lm)


@settings(max_examples=12, deadline=None)
@example(rows=0, width=4, vocabulary=5, block=16, chunk=2, dtype=torch.float32, seed=0)
@example(rows=1, width=1, vocabulary=1, block=16, chunk=1, dtype=torch.float32, seed=0)
@given(
    rows=st.integers(0, 12),
    width=st.integers(1, 24),
    vocabulary=st.integers(1, 150),
    block=st.sampled_from([16, 64, 256]),
    chunk=st.integers(1, 12),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**31),
)
def test_matches_fp64_autograd_over_all_logits(
    rows: int, width: int, vocabulary: int, block: int, chunk: int, dtype: torch.dtype, seed: int
) -> None:
    inputs = random_tensors([(rows, width), (vocabulary, width), (vocabulary,)], dtype, seed)
    labels = torch.randint(-1, vocabulary, (rows,), generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    expected_inputs = leaf_copies(inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROW_BLOCK", block)
        patch.setattr(chunks, "LOGITS_BYTES", chunk * vocabulary * dtype.itemsize)
        actual = masked_lm(*inputs, labels)
    expected = plain_masked_lm(*expected_inputs, labels)
    assert_near(actual.loss, expected.loss, dtype)
    if dtype is torch.float32:  # rounding to 16 bits produces ties
        assert actual.correct == expected.correct
    for result in (actual, expected):
        (0.37 * result.loss).backward()
    assert_same_gradients(inputs, expected_inputs, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_row_stride_can_exceed_row_length(dtype: torch.dtype) -> None:
    """The gaps between rows, here NaN, have no influence."""
    rows, vocabulary, stride = 6, 50, 64
    apart = torch.full((rows, stride), torch.nan, dtype=dtype, device=DEVICE)
    scores, bias = random_tensors([(rows, vocabulary), (vocabulary,)], dtype, 3)
    labels = torch.tensor([0, 49, 7, -1, 3, 3], device=DEVICE)
    apart[:, :vocabulary] = scores.detach()
    plain = scores.detach().clone()
    actual = cross_entropy(apart[:, :vocabulary], bias.detach(), labels, True)
    expected = plain_cross_entropy(plain, bias.detach(), labels, True)
    assert_near(actual[0], expected[0], torch.float32)
    assert torch.equal(actual[1], expected[1])
    assert_near(apart[:, :vocabulary], plain, dtype)


def test_first_of_equal_logits_is_the_prediction() -> None:
    scores = torch.zeros(5, 40, device=DEVICE)
    scores[4, 20] = 1.0
    labels = torch.tensor([0, 1, 39, -1, 20], device=DEVICE)
    _, correct = cross_entropy(scores, torch.zeros(40, device=DEVICE), labels, False)
    assert correct.tolist() == [True, False, False, False, True]


def test_logits_are_unchanged_without_gradient() -> None:
    scores, bias = (tensor.detach() for tensor in random_tensors([(4, 40), (40,)], torch.float32, 3))
    before = scores.clone()
    cross_entropy(scores, bias, torch.arange(4, device=DEVICE), False)
    assert torch.equal(scores, before)


def test_large_logits_do_not_overflow() -> None:
    scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], device=DEVICE)
    loss, correct = cross_entropy(scores, torch.zeros(2, device=DEVICE), torch.tensor([0, 0], device=DEVICE), True)
    assert loss.tolist() == [0.0, 2e4]
    assert correct.tolist() == [True, False]
    assert scores.tolist() == [[0.0, 0.0], [-1.0, 1.0]]
