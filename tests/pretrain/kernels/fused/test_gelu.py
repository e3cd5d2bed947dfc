from __future__ import annotations

import torch
from hypothesis import example, given, settings, strategies as st
from torch.nn import functional as F

from pretrain.kernels import gelu
from pretrain.kernels.fused import gelu as fused
from tests.pretrain.kernels.near import (
    DEVICE,
    assert_near,
    assert_same_gradients,
    leaf_copies,
    random_gradient,
    random_tensors,
    untyped,
)

bias_gelu, reference = untyped(fused.bias_gelu), untyped(gelu.bias_gelu)


@settings(max_examples=12, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, seed=0)
@example(rows=1, width=1, dtype=torch.float32, seed=0)
@example(rows=9, width=1025, dtype=torch.bfloat16, seed=0)  # two blocks of columns
@given(
    rows=st.integers(1, 20),
    width=st.integers(1, 140),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**31),
)
def test_matches_the_fp64_reference(rows: int, width: int, dtype: torch.dtype, seed: int) -> None:
    inputs = random_tensors([(rows, width), (width,)], dtype, seed)
    expected_inputs = leaf_copies(inputs)
    actual, expected = bias_gelu(*inputs), reference(*expected_inputs)
    assert actual.dtype == dtype
    assert_near(actual, expected, dtype)
    gradient = random_gradient(expected, seed)
    torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient.to(dtype).double()])
    assert_same_gradients(inputs, expected_inputs, dtype)


def test_matches_exact_gelu_over_the_full_range() -> None:
    """The error stays below that of torch's own fp32 GELU, also in the tails."""
    hidden = torch.linspace(-14, 14, 28_000, device=DEVICE).view(7, -1).requires_grad_()
    exact = hidden.detach().double().requires_grad_()
    actual, expected = bias_gelu(hidden, torch.zeros(hidden.shape[1], device=DEVICE)), F.gelu(exact)
    torch.autograd.backward([actual.sum(), expected.sum()])
    assert hidden.grad is not None
    assert exact.grad is not None
    assert (actual - expected).abs().max() < 1.2e-6
    assert (hidden.grad - exact.grad).abs().max() < 1e-6


def test_infinities() -> None:
    hidden = torch.tensor([[-torch.inf, torch.inf, torch.nan]], device=DEVICE)
    ends = bias_gelu(hidden, torch.zeros(3, device=DEVICE))[0].tolist()
    assert ends[1] == torch.inf
    assert ends[2] != ends[2]
