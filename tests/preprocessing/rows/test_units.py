"""Long sentences are cut into pieces, at places that differ from pass to pass; other sentences are units."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.rows.pairs import make_pairs
from preprocessing.rows.randomness import document_keys
from preprocessing.rows.units import Units, cut_into_units
from tests.preprocessing.rows.test_pairs import make_config
from tests.preprocessing.token_documents import FIRST_ID, VOCABULARY, make_documents, segments, within_4_sigma

MOST = 6  # tokens in a unit


def units_of(lengths: list[list[int]], pass_number: int = 0) -> Units:
    """Units of documents whose sentences all have tokens."""
    documents = make_documents(lengths)
    keys = document_keys(1, documents.digests, documents.copies)
    offsets = (documents.sentence_offsets, documents.document_offsets)
    return cut_into_units(*offsets, keys, np.uint64(pass_number), MOST)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.integers(1, 40), max_size=8), min_size=1, max_size=5), st.integers(0, 3))
def test_units_are_the_text_in_order(lengths: list[list[int]], pass_number: int) -> None:
    units = units_of(lengths, pass_number)
    flat = [length for document in lengths for length in document]
    sizes = np.diff(units.token_offsets)

    assert units.token_offsets[-1] == sum(flat)
    assert np.bincount(units.sentences, sizes, len(flat)).tolist() == flat
    assert sizes.min(initial=1) >= 1
    assert sizes.max(initial=1) <= MOST
    for sentence, length in enumerate(flat):
        pieces = sizes[units.sentences == sentence].tolist()
        assert len(pieces) == 1 if length <= MOST else all(size == MOST for size in pieces[1:-1])
    of_documents = np.split(units.sentences, units.document_offsets[1:-1])
    assert [len(set(of_one.tolist())) for of_one in of_documents] == [len(document) for document in lengths]


def test_first_pieces_of_all_lengths_are_equally_frequent() -> None:
    units = units_of([[50]] * 6_000)
    firsts = np.diff(units.token_offsets)[units.document_offsets[:-1]]

    assert all(within_4_sigma(int((firsts == length).sum()), 6_000, 1 / MOST) for length in range(1, MOST + 1))


def test_passes_cut_at_different_places() -> None:
    places = {tuple(units_of([[50]], number).token_offsets.tolist()) for number in range(40)}

    assert len(places) == MOST


@pytest.mark.parametrize("objective", ["nsp", "sop"])
@pytest.mark.parametrize("lengths", [[600], [60] * 10, [7] * 40, [100, 3, 1, 80]], ids=str)
def test_every_piece_of_a_long_sentence_stands_in_a_row_of_some_pass(objective: str, lengths: list[int]) -> None:
    documents = make_documents([lengths] * 8)
    seen = np.zeros(len(documents.ids), np.int64)
    for number in range(10):
        pairs = make_pairs(documents, make_config(objective=objective), VOCABULARY, number)
        for row in range(len(pairs)):
            for segment in segments(pairs, row):
                seen[np.array(segment) - FIRST_ID] += 1

    assert (seen > 0).mean() > 0.998
    assert seen.mean() > 6
