"""ModernBERT's kernels against their references in fp64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from torch import Tensor

from pretrain.kernels import add_norm as plain_norm, attention as plain_attention, geglu as plain_geglu
from pretrain.kernels.dropout import Dropout, keep_mask
from pretrain.kernels.fused import add_norm, geglu, residual_norm, rotary
from tests.pretrain.kernels.near import (
    DEVICE,
    assert_near,
    assert_same_gradients,
    drawn_rows,
    leaf_copies,
    random_gradient,
    random_tensors,
    untyped,
)

DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])


def check(
    inputs: list[Tensor], copies: list[Tensor], results: list[Tensor], expected: list[Tensor], dtype: torch.dtype
) -> None:
    """Compare results and the gradients of all inputs."""
    for actual, wanted in zip(results, expected, strict=True):
        assert actual.dtype == dtype
        assert_near(actual, wanted, dtype)
    gradients = [random_gradient(wanted, number).to(dtype) for number, wanted in enumerate(expected)]
    torch.autograd.backward([*results, *expected], [*gradients, *(gradient.double() for gradient in gradients)])
    assert_same_gradients(inputs, copies, dtype)


@settings(max_examples=8, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, probability=0.5, seed=0)
@example(rows=33, width=64, dtype=torch.bfloat16, probability=0.1, seed=0)  # more groups than programs
@drawn_rows
def test_add_then_norm(rows: int, width: int, dtype: torch.dtype, probability: float | None, seed: int) -> None:
    inputs = random_tensors([(rows, width), (rows, width), (width,)], dtype, seed)
    copies = leaf_copies(inputs)
    dropout = None if probability is None else Dropout(probability, torch.tensor(seed, device=DEVICE), 3)
    results = untyped(residual_norm.add_then_norm)(*inputs, 1e-5, dropout)
    check(inputs, copies, list(results), list(untyped(plain_norm.add_then_norm)(*copies, 1e-5, dropout)), dtype)


@settings(max_examples=4, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, probability=0.5, seed=0)
@drawn_rows
def test_each_half_without_bias(
    rows: int, width: int, dtype: torch.dtype, probability: float | None, seed: int
) -> None:
    inputs = random_tensors([(rows, width), (rows, width), (rows, width), (width,)], dtype, seed)
    copies = leaf_copies(inputs)
    dropout = None if probability is None else Dropout(probability, torch.tensor(seed, device=DEVICE), 3)
    (x, residual, hidden, weight), (x64, residual64, hidden64, weight64) = inputs, copies
    results = [add_norm.add(x, None, residual, dropout), add_norm.layer_norm(hidden, weight, None, 1e-5)]
    expected = [plain_norm.add(x64, None, residual64, dropout), plain_norm.layer_norm(hidden64, weight64, None, 1e-5)]
    check(inputs, copies, results, expected, dtype)


def test_one_output_alone_has_the_right_gradients() -> None:
    for place in (0, 1):
        inputs = random_tensors([(9, 12), (9, 12), (12,)], torch.float32, 5)
        copies = leaf_copies(inputs)
        result = untyped(residual_norm.add_then_norm)(*inputs, 1e-5, None)[place]
        expected = untyped(plain_norm.add_then_norm)(*copies, 1e-5, None)[place]
        grads, expected_grads = (
            torch.autograd.grad(output.square().sum(), tensors, allow_unused=True)
            for output, tensors in ((result, inputs), (expected, copies))
        )
        for grad, wanted in zip(grads, expected_grads, strict=True):
            assert_near(grad, torch.zeros_like(grad) if wanted is None else wanted, torch.float32)


def test_the_mask_equals_the_reference_mask() -> None:
    x, residual, weight = random_tensors([(21, 37), (21, 37), (37,)], torch.float32, 3)
    dropout = Dropout(0.4, torch.tensor(2**62 + 12345, device=DEVICE), 9)
    sum_TH, _ = residual_norm.add_then_norm(x, residual, weight, 1e-5, dropout)
    (grad_x,) = torch.autograd.grad(sum_TH.sum(), [x])
    assert torch.equal(grad_x != 0, keep_mask(dropout, 21, 37))


def test_changing_the_seed_before_backward_raises() -> None:
    seed = torch.tensor(1, device=DEVICE)
    x, residual, weight = random_tensors([(8, 4), (8, 4), (4,)], torch.float32, 3)
    sum_TH, _ = residual_norm.add_then_norm(x, residual, weight, 1e-12, Dropout(0.4, seed, 9))
    seed.fill_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sum_TH.sum().backward()  # type: ignore[no-untyped-call]  # torch has no types


@settings(max_examples=8, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, seed=0)
@example(rows=9, width=1025, dtype=torch.bfloat16, seed=0)  # two blocks of columns
@given(rows=st.integers(1, 20), width=st.integers(1, 140), dtype=DTYPES, seed=st.integers(0, 2**31))
def test_geglu(rows: int, width: int, dtype: torch.dtype, seed: int) -> None:
    inputs = random_tensors([(rows, 2 * width)], dtype, seed)
    copies = leaf_copies(inputs)
    check(inputs, copies, [geglu.geglu(*inputs)], [plain_geglu.geglu(*copies)], dtype)


@settings(max_examples=8, deadline=None)
@example(tokens=3, heads=17, half=5, dtype=torch.float32, seed=0)  # several tiles of heads
@given(
    tokens=st.integers(1, 12),
    heads=st.integers(1, 7),
    half=st.integers(1, 20),
    dtype=DTYPES,
    seed=st.integers(0, 2**31),
)
def test_rotate(tokens: int, heads: int, half: int, dtype: torch.dtype, seed: int) -> None:
    inputs = random_tensors([(tokens, 3, heads, 2 * half)], dtype, seed)
    copies = leaf_copies(inputs)
    positions = torch.arange(tokens, device=DEVICE) * 700 % 8192
    rotation = plain_attention.rotation_of(positions, 10_000.0, 2 * half)
    results, expected = [rotary.rotate(inputs[0], rotation)], [plain_attention.rotate(copies[0], rotation)]
    check(inputs, copies, results, expected, dtype)
