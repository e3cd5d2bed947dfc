"""Numbers are those of SplitMix64, hang on their key alone, and are uniform."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from preprocessing.rows.randomness import RandomState, absorb, document_keys, draw_below, draw_bits, draw_fraction

uint64s = st.integers(0, 2**64 - 1)


def state_of(key: int) -> RandomState:
    return np.array([key], np.uint64)


def test_bits_are_those_of_splitmix64() -> None:
    state = state_of(0)

    drawn = [int(draw_bits(state)) for _ in range(3)]

    # The first outputs of the published generator for seed 0.
    assert drawn == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@settings(deadline=None)  # the first call compiles
@given(uint64s, st.integers(1, 2**32))
def test_bounded_integers_are_the_high_word_of_bits_times_bound(key: int, bound: int) -> None:
    bits = int(draw_bits(state_of(key)))

    assert draw_below(state_of(key), bound) == bits * bound >> 64


@settings(deadline=None)  # the first call compiles
@given(uint64s)
def test_fractions_are_the_upper_53_bits(key: int) -> None:
    assert draw_fraction(state_of(key)) == (int(draw_bits(state_of(key))) >> 11) / 2**53


def test_bounded_integers_are_uniform() -> None:
    state, bound, draws = state_of(12_345), 37, 200_000

    counts = np.bincount([draw_below(state, bound) for _ in range(draws)], minlength=bound)

    chi_squared = ((counts - draws / bound) ** 2 / (draws / bound)).sum()
    assert len(counts) == bound
    assert abs(chi_squared - (bound - 1)) < 4 * np.sqrt(2 * (bound - 1))


def test_keys_of_neighbouring_values_are_all_different() -> None:
    values = [np.uint64(value) for value in range(300)]

    keys = {int(absorb(first, second)) for first in values for second in values}

    assert len(keys) == 300 * 300


def test_a_key_is_no_number_drawn_with_its_parent() -> None:
    parent = np.uint64(77)
    state = state_of(77)

    drawn = {int(draw_bits(state)) for _ in range(1000)}

    assert drawn.isdisjoint(int(absorb(parent, np.uint64(value))) for value in range(1000))


def make_digests(documents: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (documents, 32)).astype(np.uint8)


def test_a_documents_key_does_not_hang_on_the_other_documents() -> None:
    digests, copies = make_digests(9), np.arange(9)

    together = document_keys(5, digests, copies)

    alone = [document_keys(5, digests[[n]], copies[[n]])[0] for n in range(9)]
    assert together.tolist() == alone
    assert document_keys(5, digests[::-1], copies[::-1]).tolist() == alone[::-1]


def test_a_documents_key_hangs_on_seed_digest_and_copy() -> None:
    digests = make_digests(1)
    keys = {int(document_keys(seed, digests, np.array([copy]))[0]) for seed in range(3) for copy in range(3)}
    for byte in range(32):
        changed = digests.copy()
        changed[0, byte] ^= 1
        keys.add(int(document_keys(0, changed, np.array([0]))[0]))

    assert len(keys) == 3 * 3 + 32
