"""LAMB in one process; tests of partitions on several ranks are in tests/distributed/test_lamb.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers import FlatSlice, ensure_moments, make_adamw
from pretrain.engine.optimizers.lamb import Lamb

CONFIG = OptimizerConfig(name="lamb", beta1=0.9, beta2=0.99, eps=1e-6)
SIZES = {"word.weight": 15, "attention.qkv.weight": 27, "feed_in.weight": 8}


def group_of(named: dict[str, Tensor], *, weight_decay: float, adapted: bool) -> dict[str, Any]:
    return {
        "names": list(named),
        "params": list(named.values()),
        "weight_decay": weight_decay,
        "adapted": adapted,
        "lr": 0.1,
    }


def lamb_over(named: dict[str, Tensor], *, weight_decay: float = 0.0, adapted: bool = True) -> Lamb:
    """An optimizer of complete tensors with initialised moments."""
    optimizer = Lamb([group_of(named, weight_decay=weight_decay, adapted=adapted)], CONFIG)
    for tensor in named.values():
        ensure_moments(optimizer, tensor)
    places = [FlatSlice(name, 0, tensor, 0, tensor.numel()) for name, tensor in named.items()]
    optimizer.locate(places, is_partitioned=False)
    return optimizer


def step(optimizer: torch.optim.Optimizer, number: int, gradients: dict[Tensor, Tensor]) -> None:
    for group in optimizer.param_groups:
        group |= {"step": number, "lr": 0.1}
    for weights, gradient in gradients.items():
        weights.grad = gradient.clone()
    optimizer.step()


def test_first_step_follows_algorithm_2() -> None:
    """With bias correction, the first moments are g and g², so that the update is the gradient's sign."""
    weights = torch.tensor([3.0, 4.0])
    step(lamb_over({"weight": weights}), 1, {weights: torch.tensor([0.5, -2.0])})
    moved = 0.1 * 5.0 / math.sqrt(2)
    assert weights.tolist() == pytest.approx([3.0 - moved, 4.0 + moved], rel=1e-5)


def test_decay_is_part_of_the_update_and_of_its_norm() -> None:
    weights = torch.tensor([3.0, 4.0])
    step(lamb_over({"weight": weights}, weight_decay=0.5), 1, {weights: torch.tensor([0.5, -2.0])})
    ratio = 5.0 / math.hypot(1 + 1.5, -1 + 2.0)
    assert weights.tolist() == pytest.approx([3.0 - 0.1 * ratio * 2.5, 4.0 - 0.1 * ratio * 1.0], rel=1e-5)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_all_zero_weights_or_updates_have_no_trust_ratio(start: float) -> None:
    weights = torch.full((2,), start)
    gradient = torch.ones(2) if start == 0.0 else torch.zeros(2)
    step(lamb_over({"weight": weights}), 1, {weights: gradient})
    assert weights.tolist() == pytest.approx([-0.1, -0.1] if start == 0.0 else [1.0, 1.0])


def test_parameters_without_trust_ratio_use_adam() -> None:
    ours, theirs = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0])
    optimizer = lamb_over({"bias": ours}, adapted=False)
    adam = make_adamw([{"params": [theirs], "weight_decay": 0.0}], CONFIG)
    for number in (1, 2, 3):
        gradient = torch.tensor([0.5, -2.0]) * number
        step(optimizer, number, {ours: gradient})
        step(adam, number, {theirs: gradient})
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0.0)


def test_queries_keys_and_values_are_three_tensors() -> None:
    generator = torch.Generator().manual_seed(1)
    fused, gradient = torch.randn(2, 9, 3, generator=generator)
    parts = {f"{name}.weight": part.clone() for name, part in zip("qkv", fused.chunk(3), strict=True)}
    split = lamb_over(parts, weight_decay=0.1)
    step(split, 1, dict(zip(parts.values(), gradient.chunk(3), strict=True)))
    step(lamb_over({"qkv.weight": fused}, weight_decay=0.1), 1, {fused: gradient})
    assert torch.equal(fused, torch.cat(list(parts.values())))


@given(st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_flat_padded_tensors_are_updated_like_separate_ones(gaps: list[int]) -> None:
    generator = torch.Generator().manual_seed(2)
    alone = {name: torch.randn(size, generator=generator) for name, size in SIZES.items()}
    gradients = {name: torch.randn(size, generator=generator) for name, size in SIZES.items()}
    starts, length = {}, gaps[0]
    for (name, size), gap in zip(SIZES.items(), gaps[1:], strict=True):
        starts[name] = length
        length += size + gap
    weights, gradient = torch.zeros(length), torch.zeros(length)
    for name, start in starts.items():
        weights[start : start + SIZES[name]] = alone[name]
        gradient[start : start + SIZES[name]] = gradients[name]
    flat = lamb_over({name: tensor.clone() for name, tensor in alone.items()}, weight_decay=0.1)
    flat.param_groups[0]["params"] = [weights]
    ensure_moments(flat, weights)
    flat.locate([FlatSlice(name, 0, weights, starts[name], size) for name, size in SIZES.items()], is_partitioned=False)
    step(flat, 1, {weights: gradient})
    step(lamb_over(alone, weight_decay=0.1), 1, {alone[name]: gradients[name] for name in alone})
    for name, start in starts.items():
        torch.testing.assert_close(weights[start : start + SIZES[name]], alone[name], rtol=1e-6, atol=1e-6)
    assert weights.count_nonzero() == sum(SIZES.values())  # padding stays zero
