from __future__ import annotations

import torch
from hypothesis import example, given, settings, strategies as st

from pretrain.kernels import lamb as reference
from pretrain.kernels.fused import lamb as fused
from pretrain.kernels.lamb import BLOCK, LambState, LambStep, Segments, trust_ratio
from tests.pretrain.kernels.near import DEVICE, assert_near


@settings(max_examples=8, deadline=None)
@example(sizes=[], dtype=torch.float32, seed=0)
@example(sizes=[2 * BLOCK + 1, 0, 3], dtype=torch.bfloat16, seed=0)
@example(sizes=[BLOCK, 4 * 300], dtype=torch.float32, seed=0)  # every segment starts at a multiple of 16 bytes
@given(
    sizes=st.lists(st.sampled_from([0, 1, 3, 64, 500, BLOCK - 1]), max_size=5),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 2**31),
)
def test_matches_the_fp64_reference(sizes: list[int], dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *sizes]).cumsum(0).tolist()
    segments = Segments(offsets, DEVICE)
    master = torch.randn(offsets[-1], generator=generator).to(DEVICE)
    master[: min(len(master), 3)] = 0.0
    state = LambState(master, torch.zeros_like(master), torch.zeros_like(master))
    wide = LambState(*(tensor.double() for tensor in state))
    for number in (1, 2):
        gradient = torch.randn(offsets[-1], generator=generator).to(DEVICE, dtype)
        step = LambStep(number, 0.01, 0.9, 0.999, 1e-6, 0.01)
        squares = fused.moments(state, gradient, segments, step)
        wide_squares = reference.moments(wide, gradient.double(), segments, step)
        assert_near(squares, wide_squares, torch.float32)
        fused.update(state, trust_ratio(squares), segments, step)
        reference.update(wide, trust_ratio(wide_squares), segments, step)
    for actual, expected in zip(state, wide, strict=True):
        assert_near(actual, expected, torch.float32)
