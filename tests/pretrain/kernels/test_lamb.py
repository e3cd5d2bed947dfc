from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pretrain.kernels.lamb import BLOCK, LambState, LambStep, Segments, moments, trust_ratio, update

CPU = torch.device("cpu")
SIZES = [6, 1, 8, 5]
OFFSETS = [0, 6, 7, 15, 20]


def step_number(number: int) -> LambStep:
    return LambStep(number, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-6, weight_decay=0.01)


def new_state(flat: Tensor) -> LambState:
    return LambState(flat.clone(), torch.zeros_like(flat), torch.zeros_like(flat))


def textbook(weights: list[Tensor], gradients: list[list[Tensor]]) -> list[Tensor]:
    """Return the weights after algorithm 2 of the paper, one tensor at a time."""
    first = [torch.zeros_like(weight) for weight in weights]
    second = [torch.zeros_like(weight) for weight in weights]
    for number, some in enumerate(gradients, start=1):
        for index, gradient in enumerate(some):
            first[index] = 0.9 * first[index] + 0.1 * gradient
            second[index] = 0.999 * second[index] + 0.001 * gradient**2
            ratio = first[index] / (1 - 0.9**number) / ((second[index] / (1 - 0.999**number)).sqrt() + 1e-6)
            ratio = ratio + 0.01 * weights[index]
            weights[index] = weights[index] - 0.01 * weights[index].norm() / ratio.norm() * ratio
    return weights


def flat_gradients(steps: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(20, dtype=torch.float64, generator=generator) for _ in range(steps)]


def initial_weights() -> Tensor:
    return torch.randn(20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_matches_the_papers_algorithm() -> None:
    segments, state = Segments(OFFSETS, CPU), new_state(initial_weights())
    for number, gradient in enumerate(flat_gradients(4), start=1):
        squares = moments(state, gradient, segments, step_number(number))
        update(state, trust_ratio(squares), segments, step_number(number))
    expected = textbook(
        list(torch.split(initial_weights(), SIZES)), [list(torch.split(g, SIZES)) for g in flat_gradients(4)]
    )
    torch.testing.assert_close(state.master, torch.cat(expected))


def test_partitioned_tensor_takes_the_same_step_as_the_complete_tensor() -> None:
    """Two ranks split the parameters at 10, inside the third tensor, and add its squares."""
    whole, parts = new_state(initial_weights()), [new_state(initial_weights()[:10]), new_state(initial_weights()[10:])]
    cuts = [Segments([0, 6, 7, 10], CPU), Segments([0, 5, 10], CPU)]
    tensors = [[0, 1, 2], [2, 3]]
    for number, gradient in enumerate(flat_gradients(3), start=1):
        step, segments = step_number(number), Segments(OFFSETS, CPU)
        update(whole, trust_ratio(moments(whole, gradient, segments, step)), segments, step)
        added = torch.zeros(4, 2, dtype=torch.float64)
        for part, cut, some, mine in zip(parts, cuts, torch.split(gradient, 10), tensors, strict=True):
            added[mine] += moments(part, some, cut, step)
        for part, cut, mine in zip(parts, cuts, tensors, strict=True):
            update(part, trust_ratio(added)[mine], cut, step)
    torch.testing.assert_close(torch.cat([part.master for part in parts]), whole.master)


def test_trust_ratio_is_one_where_a_norm_is_zero() -> None:
    assert trust_ratio(torch.tensor([[0.0, 4.0], [9.0, 0.0], [9.0, 4.0]])).tolist() == [1.0, 1.0, 1.5]


def test_blocks_cover_the_partition_without_crossing_segments() -> None:
    offsets = [0, 3, 3, 3 + 2 * BLOCK, 4 + 2 * BLOCK, 4 + 3 * BLOCK + 7]
    blocks = Segments(offsets, CPU).blocks
    assert blocks.bounds.tolist() == [
        [0, 0, 3],
        [2, 3, 3 + BLOCK],
        [2, 3 + BLOCK, 3 + 2 * BLOCK],
        [3, 3 + 2 * BLOCK, 4 + 2 * BLOCK],
        [4, 4 + 2 * BLOCK, 4 + 3 * BLOCK],
        [4, 4 + 3 * BLOCK, 11 + 3 * BLOCK],
    ]
    assert blocks.ends.tolist() == [0, 1, 1, 3, 4, 6]


def test_descending_offsets_raise() -> None:
    for offsets in ([1, 2], [0, 5, 4]):
        with pytest.raises(ValueError, match="ascend"):
            Segments(offsets, CPU)
