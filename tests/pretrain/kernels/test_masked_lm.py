from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings, strategies as st

from pretrain.kernels import masked_lm as module
from pretrain.kernels.masked_lm import gather_rows
from tests.pretrain.kernels.near import assert_near, assert_same_gradients, leaf_copies, random_tensors, untyped

masked_lm, plain_masked_lm = untyped(module.masked_lm), untyped(module.plain_masked_lm)


@settings(max_examples=25, deadline=None)
@example(rows=0, width=4, vocabulary=5, chunk=2, dtype=torch.float32, seed=0)
@example(rows=1, width=1, vocabulary=1, chunk=1, dtype=torch.float32, seed=0)
@given(
    rows=st.integers(0, 12),
    width=st.integers(1, 24),
    vocabulary=st.integers(1, 150),
    chunk=st.integers(1, 12),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_chunked_head_matches_autograd_over_all_logits(
    rows: int, width: int, vocabulary: int, chunk: int, dtype: torch.dtype, seed: int
) -> None:
    inputs = random_tensors([(rows, width), (vocabulary, width), (vocabulary,)], dtype, seed)
    labels = torch.randint(-1, vocabulary, (rows,), generator=torch.Generator().manual_seed(seed)).to(inputs[0].device)
    expected_inputs = leaf_copies(inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOGITS_BYTES", chunk * vocabulary * dtype.itemsize)
        patch.setattr(module, "CACHED_BYTES", 2 * 4 * vocabulary)
        actual = masked_lm(*inputs, labels)
    expected = plain_masked_lm(*expected_inputs, labels)
    assert_near(actual.loss, expected.loss, dtype)
    if dtype is not torch.bfloat16:  # rounding to bf16 produces ties
        assert actual.correct == expected.correct
    for result in (actual, expected):
        (0.37 * result.loss).backward()
    assert_same_gradients(inputs, expected_inputs, dtype)


def test_gradients_match_finite_differences() -> None:
    inputs = [
        tensor.cpu().detach().requires_grad_() for tensor in random_tensors([(5, 4), (9, 4), (9,)], torch.float64, 1)
    ]
    labels = torch.tensor([3, 8, -1, 0, 3])
    assert torch.autograd.gradcheck(lambda *tensors: masked_lm(*tensors, labels).loss, inputs)
    rows = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda hidden: gather_rows(hidden, rows), inputs[:1])


def test_first_of_equal_logits_is_the_prediction() -> None:
    hidden, decoder = torch.ones(4, 1), torch.ones(3, 1)
    correct = masked_lm(hidden, decoder, torch.tensor([-1.0, 0.0, 0.0]), torch.tensor([0, 1, 2, -1])).correct
    assert correct.dtype == torch.int64
    assert correct == 1


def test_no_grad_gives_the_same_loss_without_a_graph() -> None:
    inputs = random_tensors([(3, 4), (9, 4), (9,)], torch.float32, 1)
    labels = torch.arange(3, device=inputs[0].device)
    with torch.no_grad():
        without_graph = masked_lm(*inputs, labels)
    assert not without_graph.loss.requires_grad
    assert without_graph.loss == masked_lm(*inputs, labels).loss


def test_large_logits_do_not_overflow() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss, correct = masked_lm(hidden, torch.tensor([[1.0], [-1.0]]), torch.zeros(2), torch.tensor([0, 0]))
    assert loss == 2e4
    assert correct == 1
    loss.backward()
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[0.0], [-2.0]]
