from __future__ import annotations

import torch
from hypothesis import example, given, settings, strategies as st

from pretrain.kernels import embedding
from pretrain.kernels.dropout import Dropout, keep_mask
from pretrain.kernels.fused import embedding as fused
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

embed, reference = untyped(fused.embed), untyped(embedding.embed)
WORDS, POSITIONS = 11, 5


@settings(max_examples=8, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, ids=torch.int64, probability=0.5, types=2, seed=0)
@example(
    rows=33, width=48, dtype=torch.bfloat16, ids=torch.int64, probability=0.1, types=2, seed=0
)  # more groups than programs
@given(
    rows=st.integers(1, 20),
    width=st.integers(3, 140),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    ids=st.sampled_from([torch.int64, torch.int32]),
    probability=st.sampled_from([None, 0.1, 0.5]),
    types=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**31),
)
def test_matches_the_fp64_reference(
    rows: int, width: int, dtype: torch.dtype, ids: torch.dtype, probability: float | None, types: int, seed: int
) -> None:
    tables = random_tensors([(WORDS, width), (POSITIONS, width), (types, width), (width,), (width,)], dtype, seed)
    expected_tables = leaf_copies(tables)
    generator = torch.Generator().manual_seed(seed)
    sizes = (WORDS, POSITIONS, min(types, 2))
    places = [torch.randint(size, (rows,), generator=generator).to(DEVICE, ids) for size in sizes]
    dropout = None if probability is None else Dropout(probability, torch.tensor(seed, device=DEVICE), 3)
    actual, expected = embed(*places, *tables, 1e-5, dropout), reference(*places, *expected_tables, 1e-5, dropout)
    assert actual.dtype == dtype
    assert_near(actual, expected, dtype)
    gradient = random_gradient(expected, seed)
    torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient.to(dtype).double()])
    assert_same_gradients(tables, expected_tables, dtype)


@settings(max_examples=3, deadline=None)
@example(rows=0, width=8, dtype=torch.float32, probability=0.5, seed=0)
@example(rows=33, width=48, dtype=torch.bfloat16, probability=0.1, seed=0)  # more groups than programs
@drawn_rows
def test_sum_matches_the_fp64_reference(
    rows: int, width: int, dtype: torch.dtype, probability: float | None, seed: int
) -> None:
    tables = random_tensors([(WORDS, width), (POSITIONS, width), (2, width)], dtype, seed)
    expected_tables = leaf_copies(tables)
    generator = torch.Generator().manual_seed(seed)
    places = [torch.randint(size, (rows,), generator=generator).to(DEVICE) for size in (WORDS, POSITIONS, 2)]
    dropout = None if probability is None else Dropout(probability, torch.tensor(seed, device=DEVICE), 3)
    actual = untyped(fused.embed_sum)(*places, *tables, dropout)
    expected = untyped(embedding.embed_sum)(*places, *expected_tables, dropout)
    assert actual.dtype == dtype
    assert_near(actual, expected, dtype)
    gradient = random_gradient(expected, seed)
    torch.autograd.backward([actual, expected], [gradient.to(dtype), gradient.to(dtype).double()])
    assert_same_gradients(tables, expected_tables, dtype)


def test_mask_equals_the_reference_mask() -> None:
    rows, width = 21, 37
    tables = random_tensors([(WORDS, width), (POSITIONS, width), (2, width)], torch.float32, 1)
    ids = torch.zeros(rows, dtype=torch.int64, device=DEVICE)
    dropout = Dropout(0.4, torch.tensor(2**62 + 12345, device=DEVICE), 9)
    weight, shift = torch.zeros(width, device=DEVICE), torch.ones(width, device=DEVICE)
    result = embed(ids, ids, ids, *tables, weight, shift, 1e-12, dropout)
    torch.testing.assert_close(
        result, keep_mask(dropout, rows, width, torch.float32) * dropout.scale, rtol=1e-6, atol=0
    )
