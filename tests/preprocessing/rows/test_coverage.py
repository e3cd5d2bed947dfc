"""What a pass loses is what is missing in its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.rows.coverage import Coverage
from preprocessing.rows.pairs import TokenizedDocuments
from tests.preprocessing.rows.test_pairs import MODES, natural_documents, pairs_of
from tests.preprocessing.token_documents import FIRST_ID, documents_of_lengths, make_documents

REFERENCE = {"objective": "nsp", "nsp_mode": "reference"}


def tokens_by_place(documents: TokenizedDocuments) -> list[tuple[bytes, int]]:
    """Return for each token its document's digest and its place in the document."""
    places = []
    for number in range(len(documents.copies)):
        start, end = documents.sentence_offsets[documents.document_offsets[[number, number + 1]]]
        places += [(documents.digests[number].tobytes(), place) for place in range(end - start)]
    return places


@pytest.mark.parametrize("changes", [*MODES, REFERENCE], ids=lambda changes: "-".join(changes.values()))
@settings(deadline=None, max_examples=60)  # the first call compiles
@given(lengths=documents_of_lengths, names=st.lists(st.sampled_from("vwxyz"), min_size=6, max_size=6))
def test_pieces_in_no_row_are_those_that_no_row_holds(
    changes: dict[str, Any], lengths: list[list[int]], names: list[str]
) -> None:
    lengths = [lengths[names.index(name)] if names.index(name) < len(lengths) else one
               for name, one in zip(names, lengths, strict=False)]  # fmt: skip  # equal names, equal documents
    documents = make_documents(lengths, names[: len(lengths)])
    places = tokens_by_place(documents)
    coverage = Coverage(documents)
    ever: set[tuple[bytes, int]] = set()
    for number in range(3):
        pairs = pairs_of(documents, number, **changes)
        losses = coverage.add(pairs, "train", number)
        ids = [token for row in range(len(pairs)) for token in _tokens(pairs, row)]
        held = {places[token - FIRST_ID] for token in ids}
        ever |= held
        assert losses.pieces == len(set(places))
        assert losses.in_no_row.cut + losses.in_no_row.no_pair == len(set(places) - held)
        assert losses.in_no_row.no_pair == sum(digest not in {name for name, _ in held} for digest, _ in set(places))
        assert (losses.split, losses.pass_number) == ("train", number)
    total = coverage.in_no_row_of_any_pass()
    assert total.cut + total.no_pair == len(set(places) - ever)


def _tokens(pairs: Any, row: int) -> list[int]:
    ids = pairs.input_ids[pairs.input_offsets[row] : pairs.input_offsets[row + 1]].tolist()
    border = int(pairs.segment_a_length[row]) - 1
    return [token for place, token in enumerate(ids) if place not in (0, border, len(ids) - 1)]


def test_sentences_are_cut_where_a_row_holds_a_part() -> None:
    documents = natural_documents(30)
    pairs = pairs_of(documents, max_seq_length=64)
    held = np.zeros(len(documents.ids), np.bool_)
    held[np.array([token for row in range(len(pairs)) for token in _tokens(pairs, row)]) - FIRST_ID] = True
    bounds = documents.sentence_offsets
    partial = 0
    for sentence in range(len(bounds) - 1):
        part = held[bounds[sentence] : bounds[sentence + 1]]
        partial += bool(part.any() and not part.all())

    losses = Coverage(documents).add(pairs, "train", 0)

    assert losses.tokens_cut == pairs.tokens_cut
    assert losses.sentences_cut >= partial > 0  # a sentence whose parts stand in two rows is cut, too
    assert losses.in_no_row.cut == np.count_nonzero(~held) - losses.in_no_row.no_pair


def test_single_segments_lose_nothing() -> None:
    losses = Coverage(documents := natural_documents(30)).add(pairs_of(documents, objective="none"), "train", 0)

    assert (losses.tokens_cut, losses.in_no_row.cut, losses.in_no_row.no_pair) == (0, 0, 0)
    assert losses.sentences_cut > 0  # those that continue in the next row
