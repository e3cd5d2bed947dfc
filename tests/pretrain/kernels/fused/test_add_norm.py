from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, settings
from torch import Tensor

from pretrain.kernels import add_norm as plain
from pretrain.kernels.dropout import Dropout, keep_mask
from pretrain.kernels.fused import add_norm as fused
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

add_norm, reference = untyped(fused.add_norm), untyped(plain.add_norm)


def inputs_of(rows: int, width: int, dtype: torch.dtype, seed: int = 3) -> list[Tensor]:
    return random_tensors([(rows, width), (width,), (rows, width), (width,), (width,)], dtype, seed)


@settings(max_examples=10, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, probability=0.5, seed=0)
@example(rows=1, width=1, dtype=torch.float32, probability=0.5, seed=0)
@example(rows=33, width=64, dtype=torch.bfloat16, probability=0.1, seed=0)  # more groups than programs
@drawn_rows
def test_matches_the_fp64_reference(
    rows: int, width: int, dtype: torch.dtype, probability: float | None, seed: int
) -> None:
    inputs = inputs_of(rows, width, dtype, seed)
    expected_inputs = leaf_copies(inputs)
    dropout = None if probability is None else Dropout(probability, torch.tensor(seed, device=DEVICE), 3)
    actual, expected = add_norm(*inputs, 1e-5, dropout), reference(*expected_inputs, 1e-5, dropout)
    assert actual.dtype == dtype
    assert_near(actual, expected, dtype)
    gradient = random_gradient(expected, seed)
    torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient.to(dtype).double()])
    assert_same_gradients(inputs, expected_inputs, dtype)


@settings(max_examples=3, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, probability=0.5, seed=0)
@example(rows=33, width=64, dtype=torch.bfloat16, probability=0.1, seed=0)  # more groups than programs
@drawn_rows
def test_each_half_matches_its_fp64_reference(
    rows: int, width: int, dtype: torch.dtype, probability: float | None, seed: int
) -> None:
    inputs = inputs_of(rows, width, dtype, seed)
    expected_inputs = leaf_copies(inputs)
    dropout = None if probability is None else Dropout(probability, torch.tensor(seed, device=DEVICE), 3)

    def both(operations: Any, tensors: list[Tensor]) -> list[Tensor]:
        x, bias, residual, weight, shift = tensors
        summed = operations.add(x, bias, residual, dropout)
        return [summed, operations.layer_norm(summed.detach().requires_grad_(), weight, shift, 1e-5)]

    for actual, expected in zip(both(fused, inputs), both(plain, expected_inputs), strict=True):
        assert actual.dtype == dtype
        assert_near(actual, expected, dtype)
        gradient = random_gradient(expected, seed)
        torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient.to(dtype).double()])
    assert_same_gradients(inputs, expected_inputs, dtype)


def test_gradient_of_layer_norms_input_matches_the_fp64_reference() -> None:
    hidden, _, _, weight, shift = inputs_of(21, 37, torch.float32)
    expected_inputs = leaf_copies([hidden, weight, shift])
    gradient = random_gradient(hidden, 5)
    results = [fused.layer_norm(hidden, weight, shift, 1e-5), untyped(plain.layer_norm)(*expected_inputs, 1e-5)]
    torch.autograd.backward(results, [gradient, gradient.double()])
    assert_same_gradients([hidden, weight, shift], expected_inputs, torch.float32)


def test_mask_equals_the_reference_mask() -> None:
    x, *others = inputs_of(21, 37, torch.float32)
    dropout = Dropout(0.4, torch.tensor(2**62 + 12345, device=DEVICE), 9)
    (grad_x,) = torch.autograd.grad(add_norm(x, *others, 1e-5, dropout).square().sum(), [x])
    assert torch.equal(grad_x != 0, keep_mask(dropout, 21, 37))


def test_results_are_bitwise_repeatable() -> None:
    dropout = Dropout(0.4, torch.tensor(1, device=DEVICE), 9)
    runs = []
    for _ in range(2):
        inputs = inputs_of(40, 24, torch.bfloat16)
        result = add_norm(*inputs, 1e-12, dropout)
        runs.append([result, *torch.autograd.grad(result.float().square().sum(), inputs)])
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


def test_changing_the_seed_before_backward_raises() -> None:
    seed = torch.tensor(1, device=DEVICE)
    result = add_norm(*inputs_of(8, 4, torch.float32), 1e-12, Dropout(0.4, seed, 9))
    seed.fill_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_non_contiguous_rows() -> None:
    inputs = inputs_of(9, 12, torch.float32)
    strided = [inputs[0][:, ::2], inputs[1][::2].contiguous(), inputs[2].t().contiguous().t()[:, ::2]]
    others = [tensor[::2].contiguous() for tensor in inputs[3:]]
    assert_near(add_norm(*strided, *others, 1e-5), reference(*strided, *others, 1e-5), torch.float32)
