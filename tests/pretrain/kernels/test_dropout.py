from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from pretrain.kernels.dropout import Dropout, add_dropped, keep_mask, plain_mask
from pretrain.kernels.philox import LANES, philox

DTYPES = [torch.bool, torch.bfloat16, torch.float16, torch.float32, torch.float64]
FULL = 0xFFFFFFFF


def dropout_of(probability: float, seed: int = 5, site: int = 0) -> Dropout:
    return Dropout(probability, torch.tensor(seed), site)


@pytest.mark.parametrize(
    ("counter", "key", "rounds", "words"),
    [
        # Known answers that the paper's authors publish with their library, Random123.
        ((0, 0, 0, 0), (0, 0), 7, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        ((0, 0, 0, 0), (0, 0), 10, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((FULL,) * 4, (FULL, FULL), 10, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            10,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_matches_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], rounds: int, words: tuple[int, ...]
) -> None:
    low, high = (torch.tensor(word) for word in key)
    made = philox(tuple(torch.tensor(word) for word in counter), (low, high), rounds)
    assert tuple(int(word) for word in made) == words


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(0, 40),
    columns=st.integers(1, 70),
    probability=st.floats(0, 0.99),
    seed=st.integers(0, 2**63 - 1),
    site=st.integers(0, 2**20),
    dtype=st.sampled_from(DTYPES),
)
def test_cpu_loop_matches_plain_torch(
    rows: int, columns: int, probability: float, seed: int, site: int, dtype: torch.dtype
) -> None:
    dropout = dropout_of(probability, seed, site)
    mask = keep_mask(dropout, rows, columns, dtype)
    groups = -(-rows // LANES)
    plain = plain_mask(dropout, groups, columns, dtype).view(groups * LANES, columns)[:rows]
    assert mask.dtype == dtype
    assert torch.equal(mask, plain)


def test_mask_depends_on_row_and_column_only() -> None:
    large = keep_mask(dropout_of(0.3), 50, 33)
    assert torch.equal(keep_mask(dropout_of(0.3), 13, 20), large[:13, :20])


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropped_share_matches_probability(probability: float) -> None:
    rows = columns = 1000
    kept = keep_mask(dropout_of(probability), rows, columns).double()
    deviation = math.sqrt(probability * (1 - probability))
    assert abs(kept.mean() - (1 - probability)) < 4 * deviation / 1000
    assert (kept.mean(0) - (1 - probability)).abs().max() < 6 * deviation / math.sqrt(rows)
    assert (kept.mean(1) - (1 - probability)).abs().max() < 6 * deviation / math.sqrt(columns)


@pytest.mark.parametrize("other", [dropout_of(0.5, seed=6), dropout_of(0.5, site=1), dropout_of(0.5, seed=5 + 2**40)])
def test_different_seeds_and_sites_draw_independent_masks(other: Dropout) -> None:
    first, second = (keep_mask(dropout, 500, 500).double() - 0.5 for dropout in (dropout_of(0.5), other))
    assert abs((first * second).mean()) < 4 * 0.25 / 500


@pytest.mark.parametrize("shift", [(1, 0), (4, 0), (8, 0), (0, 1)])
def test_neighbouring_elements_are_independent(shift: tuple[int, int]) -> None:
    kept = keep_mask(dropout_of(0.5), 512, 512).double() - 0.5
    assert abs((kept * kept.roll(shift, (0, 1))).mean()) < 4 * 0.25 / 512


def test_kept_elements_are_scaled_by_the_inverse_kept_share() -> None:
    dropout = dropout_of(0.1)
    assert abs(dropout.threshold / 2**15 - 0.1) <= 2**-16
    assert dropout.scale == 1 / (1 - dropout.threshold / 2**15)
    ones = torch.ones(64, 64, dtype=torch.float64)
    result = add_dropped(torch.full((), 3.0, dtype=torch.float64), ones, dropout)
    assert torch.equal(result, 3 + keep_mask(dropout, 64, 64, torch.float64) * dropout.scale)


def test_probability_zero_drops_nothing() -> None:
    assert keep_mask(dropout_of(0.0), 16, 16).all()
    assert dropout_of(0.0).scale == 1.0


@pytest.mark.parametrize("probability", [-0.1, 1.0, math.nan])
def test_invalid_probability_raises(probability: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        _ = dropout_of(probability).threshold
