"""LAMB (You et al., "Large batch optimization for deep learning", ICLR 2020, algorithm 2) on flat fp32 partitions.

Under ZeRO a rank holds a flat slice of a parameter group: complete tensors, and fragments of tensors that cross its
ends. A step has two phases. Between them the ranks add their squared norms, so that each trust ratio is that of the
complete tensor:

    squares_S2 = moments(state, gradient, segments, step)        # updates exp_avg and exp_avg_sq
    ... all-reduce the squares of fragments of the same tensor ...
    update(state, trust_ratio(squares_S2), segments, step)       # updates the master weights

Nothing is stored between the phases: the update is a function of moments and weights, and phase 2 computes it again.
This moves as many bytes as storing it would (40 per parameter in total) and leaves the gradient unchanged. For tensors
that the paper excludes from decay and trust ratio (biases, LayerNorm) LAMB equals AdamW: use torch's fused AdamW there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 2048  # elements per program of the kernels


class LambStep(NamedTuple):
    """The hyperparameters of one step; `number` counts from 1 and determines the bias correction."""

    number: int
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float

    @property
    def corrections(self) -> tuple[float, float]:
        """The bias corrections of the first and the second moment."""
        return 1.0 - self.beta1**self.number, 1.0 - self.beta2**self.number


class LambState(NamedTuple):
    """Flat, contiguous fp32 tensors of equal length, updated in place."""

    master: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


class Blocks(NamedTuple):
    """A partition divided into blocks of at most BLOCK elements, none of which crosses a segment's end."""

    bounds: Tensor  # [blocks, 3] int64: segment, first element, last element + 1
    ends: Tensor  # int64 [S+1]: segment s has blocks [ends[s], ends[s+1])


class Segments:
    """The boundaries of a flat partition's S tensors: S + 1 `offsets` that ascend from 0 to the partition's length."""

    def __init__(self, offsets: Sequence[int], device: torch.device) -> None:
        if offsets[0] != 0 or any(last < first for first, last in pairwise(offsets)):
            raise ValueError("segment offsets must ascend from 0")
        self.offsets = tuple(offsets)
        self.device = device

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def slices(self) -> Iterator[slice]:
        """One slice of the partition per segment."""
        return (slice(first, last) for first, last in pairwise(self.offsets))

    @cached_property
    def is_aligned(self) -> bool:
        """Whether every segment starts at a multiple of 16 bytes."""
        return all(offset % 4 == 0 for offset in self.offsets)

    @cached_property
    def blocks(self) -> Blocks:
        """The kernels' table of blocks, on the device; built once."""
        bounds_S1 = torch.tensor(self.offsets, dtype=torch.int64)
        blocks_S = (bounds_S1.diff() + BLOCK - 1) // BLOCK
        ends_S = blocks_S.cumsum(0)
        segment_B = torch.repeat_interleave(blocks_S)
        first_B = bounds_S1[segment_B] + (torch.arange(len(segment_B)) - (ends_S - blocks_S)[segment_B]) * BLOCK
        last_B = torch.minimum(first_B + BLOCK, bounds_S1[segment_B + 1])
        bounds_B3 = torch.stack([segment_B, first_B, last_B], dim=1)
        return Blocks(bounds_B3.to(self.device), torch.cat([ends_S.new_zeros(1), ends_S]).to(self.device))


def moments(state: LambState, gradient: Tensor, segments: Segments, step: LambStep) -> Tensor:
    """Run phase 1: update the moments with `gradient`.

    Return the squared norms [S, 2] of each segment's weights and of its update.
    """
    gradient = gradient.to(state.exp_avg.dtype)
    state.exp_avg.lerp_(gradient, 1.0 - step.beta1)
    state.exp_avg_sq.lerp_(gradient.square(), 1.0 - step.beta2)
    squares_S2 = state.master.new_zeros(len(segments), 2)
    for squares_2, some in zip(squares_S2, segments.slices(), strict=True):
        squares_2[0] = state.master[some].square().sum()
        squares_2[1] = _direction(state, some, step).square().sum()
    return squares_S2


def trust_ratio(squares_S2: Tensor) -> Tensor:
    """Return ||weights|| / ||update|| of each segment, 1 where either is zero. The result stays on the device."""
    weights_S, update_S = squares_S2.sqrt().unbind(1)
    return torch.where((weights_S > 0) & (update_S > 0), weights_S / update_S, 1.0)


def update(state: LambState, ratio_S: Tensor, segments: Segments, step: LambStep) -> None:
    """Run phase 2: add -learning_rate * ratio * update to each segment's weights."""
    for ratio, some in zip(ratio_S, segments.slices(), strict=True):
        state.master[some].addcmul_(_direction(state, some, step), ratio, value=-step.learning_rate)


def _direction(state: LambState, some: slice, step: LambStep) -> Tensor:
    """Return m̂ / (√v̂ + ε) + decay · weights. Bias corrections are applied to scalars, not in passes over memory."""
    first, root = step.corrections[0], math.sqrt(step.corrections[1])
    denominator = state.exp_avg_sq[some].sqrt().add_(step.epsilon * root)
    return (state.master[some] * step.weight_decay).addcdiv_(state.exp_avg[some], denominator, value=root / first)
