"""Signatures are reproducible and estimate the similarity."""

from __future__ import annotations

import numpy as np
import pytest

from preprocessing.comparison.minhash import PERMUTATIONS, are_similar, band_keys, bands, signature

WORDS = [f"word{number}" for number in range(1_000)]


def test_signatures_match_the_recorded_ones() -> None:
    """A version of datasketch, NumPy or bertrain with other signatures would change data sets."""
    found = signature("The quick brown fox jumps over the lazy dog.")
    assert found.dtype == np.uint32
    assert found.shape == (PERMUTATIONS,)
    assert found[:3].tolist() == [137905809, 310832666, 660828224]


@pytest.mark.parametrize(("threshold", "number", "length"), [(0.5, 32, 4), (0.8, 14, 9), (0.95, 5, 25)])
def test_bands_match_the_recorded_ones(threshold: float, number: int, length: int) -> None:
    assert bands(threshold) == tuple(slice(place * length, (place + 1) * length) for place in range(number))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_equal_numbers_estimate_the_shared_runs(share: float) -> None:
    """Two texts of 996 runs each; within 4 σ of a binomial distribution of 128."""
    common = round(share * 1_000)
    one, other = " ".join(WORDS), " ".join(WORDS[:common] + [f"other{number}" for number in range(common, 1_000)])
    both = max(0, common - 4)
    jaccard = both / (2 * 996 - both)
    found = np.mean(signature(one) == signature(other))
    assert abs(found - jaccard) <= 4 * (jaccard * (1 - jaccard) / PERMUTATIONS) ** 0.5


def test_signature_ignores_case_and_punctuation_but_not_order() -> None:
    same = signature("One, two; three: four (five) six")
    assert np.array_equal(same, signature("ONE two three four five. Six!"))
    assert not np.array_equal(same, signature("six five four three two one"))


@pytest.mark.parametrize("text", ["", "...", "word", "中", "two words"])
def test_text_shorter_than_a_run_is_one_run(text: str) -> None:
    assert np.array_equal(signature(text), signature(text))
    assert not np.array_equal(signature(text), signature(f"{text} more"))


def test_a_chinese_character_is_a_word() -> None:
    text = "".join(chr(0x4E00 + number) for number in range(400))
    changed = text[:200] + "一" + text[201:]
    assert 0.9 < np.mean(signature(text) == signature(changed)) < 1.0


def test_long_text_is_processed_in_batches() -> None:
    text = " ".join(str(number) for number in range(9_000))
    doubled = f"{text} {text}"
    assert np.mean(signature(text) == signature(doubled)) > 0.97


def test_band_keys_depend_on_the_band_only() -> None:
    rng = np.random.default_rng(1)
    signatures = rng.integers(0, 2**32, (50, PERMUTATIONS), np.uint32)
    changed = signatures.copy()
    changed[:, 9:] += 1
    first, second = bands(0.8)[:2]
    assert np.array_equal(band_keys(signatures, first), band_keys(changed, first))
    assert not np.any(band_keys(signatures, second) == band_keys(changed, second))
    assert len(np.unique(band_keys(signatures, first))) == 50
    assert are_similar(signatures, changed, 9 / 128).all()
    assert not are_similar(signatures, changed, 10 / 128).any()
