"""LAMB's two phases over flat partitions. The number of kernel launches does not depend on the number of tensors.

The partition is divided into blocks, each inside one segment; their table is built once. Squared norms are summed
within a block and then over a segment's blocks in a fixed order: repeatable, without atomics.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped, import-not-found"
# Triton ships no types, and the pointers and blocks that it passes to kernels have no Python types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pretrain.kernels.lamb import BLOCK, LambState, LambStep, Segments

WARPS = 4
SUM_BLOCK = 256


@triton.jit
def _block(blocks_ptr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr):
    """Return this program's segment, offsets and mask."""
    entry = blocks_ptr + tl.program_id(0) * 3
    first, last = tl.load(entry + 1), tl.load(entry + 2)
    if ALIGNED:
        first, last = tl.multiple_of(first, 4), tl.multiple_of(last, 4)
    at = first + tl.arange(0, BLOCK)
    return tl.load(entry), at, at < last


@triton.jit
def _direction(average, square, master, first_correction, second_correction, epsilon, weight_decay):
    return average / first_correction / (tl.sqrt_rn(square / second_correction) + epsilon) + weight_decay * master


@triton.jit
def moments_kernel(
    master_ptr, gradient_ptr, average_ptr, square_ptr, blocks_ptr, squares_ptr,
    average_share, square_share, first_correction, second_correction, epsilon, weight_decay,
    ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program updates one block's moments and writes its `squares` [blocks, 2].

    The shares are 1 - beta, computed by the caller because the subtraction is inexact in fp32.
    """
    _, at, live = _block(blocks_ptr, ALIGNED, BLOCK)
    gradient = tl.load(gradient_ptr + at, mask=live, other=0.0).to(tl.float32)
    master = tl.load(master_ptr + at, mask=live, other=0.0)
    average = tl.load(average_ptr + at, mask=live, other=0.0)
    square = tl.load(square_ptr + at, mask=live, other=0.0)
    average += (gradient - average) * average_share
    square += (gradient * gradient - square) * square_share
    tl.store(average_ptr + at, average, mask=live)
    tl.store(square_ptr + at, square, mask=live)
    direction = _direction(average, square, master, first_correction, second_correction, epsilon, weight_decay)
    direction = tl.where(live, direction, 0.0)
    tl.store(squares_ptr + tl.program_id(0) * 2, tl.sum(master * master))
    tl.store(squares_ptr + tl.program_id(0) * 2 + 1, tl.sum(direction * direction))


@triton.jit
def sum_kernel(squares_B2_ptr, ends_ptr, squares_S2_ptr, SUM_BLOCK: tl.constexpr):
    """Each program sums one of a segment's two squares over the segment's blocks."""
    segment, which = tl.program_id(0), tl.program_id(1)
    last = tl.load(ends_ptr + segment + 1)
    total = tl.zeros([SUM_BLOCK], tl.float32)
    for first in range(tl.load(ends_ptr + segment), last, SUM_BLOCK):
        block = first + tl.arange(0, SUM_BLOCK)
        total += tl.load(squares_B2_ptr + block * 2 + which, mask=block < last, other=0.0)
    tl.store(squares_S2_ptr + segment * 2 + which, tl.sum(total))


@triton.jit
def update_kernel(
    master_ptr, average_ptr, square_ptr, ratio_ptr, blocks_ptr,
    learning_rate, first_correction, second_correction, epsilon, weight_decay,
    ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Each program updates the weights of one block."""
    segment, at, live = _block(blocks_ptr, ALIGNED, BLOCK)
    master = tl.load(master_ptr + at, mask=live, other=0.0)
    average = tl.load(average_ptr + at, mask=live, other=0.0)
    square = tl.load(square_ptr + at, mask=live, other=0.0)
    direction = _direction(average, square, master, first_correction, second_correction, epsilon, weight_decay)
    tl.store(master_ptr + at, master - learning_rate * tl.load(ratio_ptr + segment) * direction, mask=live)


def moments(state: LambState, gradient: Tensor, segments: Segments, step: LambStep) -> Tensor:
    """Compute `pretrain.kernels.lamb.moments`."""
    blocks = len(segments.blocks.bounds)
    squares_B2 = torch.empty(blocks, 2, dtype=torch.float32, device=gradient.device)
    squares_S2 = torch.empty(len(segments), 2, dtype=torch.float32, device=gradient.device)
    moments_kernel[(blocks,)](
        state.master, gradient, state.exp_avg, state.exp_avg_sq, segments.blocks.bounds, squares_B2,
        1.0 - step.beta1, 1.0 - step.beta2, *step.corrections, step.epsilon, step.weight_decay,
        ALIGNED=segments.is_aligned, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    sum_kernel[(len(segments), 2)](squares_B2, segments.blocks.ends, squares_S2, SUM_BLOCK=SUM_BLOCK)
    return squares_S2


def update(state: LambState, ratio_S: Tensor, segments: Segments, step: LambStep) -> None:
    """Compute `pretrain.kernels.lamb.update`."""
    update_kernel[(len(segments.blocks.bounds),)](
        state.master, state.exp_avg, state.exp_avg_sq, ratio_S, segments.blocks.bounds,
        step.learning_rate, *step.corrections, step.epsilon, step.weight_decay,
        ALIGNED=segments.is_aligned, BLOCK=BLOCK, num_warps=WARPS,
    )  # fmt: skip
