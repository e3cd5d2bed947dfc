"""Couples and blocks: what they leave to a document with most of the rows, to corpora, and to a reader of one end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from preprocessing.rows.pairs import Pairs, make_pairs
from preprocessing.rows.segments import FOLLOWS, RANDOM
from tests.preprocessing.rows.test_pairs import lengths_of, make_config, natural_documents
from tests.preprocessing.token_documents import VOCABULARY, make_documents, within_4_sigma


def pairs_of(documents: Any, pass_number: int = 0, **changes: Any) -> Pairs:
    return make_pairs(documents, make_config(**changes), VOCABULARY, pass_number)


def test_a_document_with_most_of_the_rows_asks_each_other_row_once_more() -> None:
    documents = make_documents([[4] * 4_000, *[[4] * 20] * 10])

    pairs = pairs_of(documents)

    of_others = int((pairs.a_document[: len(pairs) - pairs.repeated] > 0).sum())
    assert pairs.repeated == of_others
    assert int((~pairs.forced).sum()) == 4 * of_others  # coupled with one of the document's rows, twice
    assert (pairs.next_sentence_label[pairs.forced] == FOLLOWS).all()
    assert (pairs.a_document[pairs.forced] == 0).all()
    random = pairs.next_sentence_label == RANDOM
    assert (pairs.a_document[random] != pairs.b_document[random]).all()
    assert within_4_sigma(int(random.sum()), 4 * of_others, 0.5)
    assert len(set(pairs.keys.tolist())) == len(pairs)


def test_a_small_majority_asks_only_as_often_as_it_must() -> None:
    pairs = pairs_of(make_documents([[4] * 60, [4] * 40]))

    rows = np.bincount(pairs.a_document[: len(pairs) - pairs.repeated])
    assert pairs.repeated == rows[0] - rows[1] > 0
    assert not pairs.forced.any()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1)])
def test_partners_come_from_the_same_corpus(shares: tuple[float, float]) -> None:
    documents = natural_documents(1_000)
    corpora = np.random.default_rng(0).choice(2, 1_000, p=shares)

    pairs = pairs_of(type(documents)(**{**vars(documents), "corpora": corpora}), max_seq_length=128)

    random = pairs.next_sentence_label == RANDOM
    assert (corpora[pairs.a_document[random]] == corpora[pairs.b_document[random]]).mean() > 0.99


def test_a_document_with_most_of_the_rows_asks_its_own_corpus_first() -> None:
    documents = make_documents([[4] * 400, *[[4] * 20] * 10, *[[4] * 20] * 30], corpora=[0] * 11 + [1] * 30)

    pairs = pairs_of(documents)

    random = pairs.next_sentence_label == RANDOM
    of_large = random & (pairs.a_document == 0)
    assert pairs.repeated > 0
    assert of_large.any()
    assert (pairs.b_document[of_large] <= 10).all()
    assert (documents.corpora[pairs.a_document[random]] == documents.corpora[pairs.b_document[random]]).all()


def test_partners_of_another_corpus_are_of_the_same_language_first() -> None:
    """Three corpora of one document each, of which two are of one language."""
    documents = make_documents([[4] * 60, [4] * 60, [4] * 60], corpora=[0, 1, 2], languages=[0, 1, 0])

    pairs = pairs_of(documents)

    random = pairs.next_sentence_label == RANDOM
    of_pair = random & (pairs.a_document != 1) & (np.arange(len(pairs)) < len(pairs) - pairs.repeated)
    assert of_pair.any()
    assert (documents.languages[pairs.b_document[of_pair]] == 0).mean() > 0.9  # a few rows are asked once more


def test_a_document_with_most_of_the_rows_asks_its_own_language_next() -> None:
    lengths = [[4] * 340, *[[4] * 20] * 5, *[[4] * 20] * 15, *[[4] * 20] * 20]
    corpora, languages = [0] * 6 + [1] * 15 + [2] * 20, [0] * 21 + [1] * 20
    documents = make_documents(lengths, corpora=corpora, languages=languages)

    pairs = pairs_of(documents)

    random = pairs.next_sentence_label == RANDOM
    of_large = random & (pairs.a_document == 0)
    asked = pairs.a_document[len(pairs) - pairs.repeated :]
    assert {0, 1} <= set(documents.corpora[pairs.b_document[of_large]].tolist())
    assert pairs.repeated > 0
    assert (documents.languages[asked] == 0).all()
    assert (documents.languages[pairs.a_document[random]] == documents.languages[pairs.b_document[random]]).all()


def test_the_only_document_of_its_corpus_has_partners_in_another_one() -> None:
    pairs = pairs_of(make_documents([[4] * 40] * 5, corpora=[0, 0, 0, 0, 1]))

    assert not pairs.forced.any()
    assert (pairs.next_sentence_label[pairs.a_document == 4] == RANDOM).any()


def test_all_rows_of_a_block_have_the_same_lengths_and_labels_are_even() -> None:
    pairs = [pairs_of(natural_documents(300, seed), max_seq_length=128) for seed in range(8)]
    labels = np.concatenate([of_one.next_sentence_label for of_one in pairs])

    assert within_4_sigma(int(labels.sum()), len(labels), 0.5)
    for of_one in pairs:
        counts = np.unique(lengths_of(of_one)[:, 1:], axis=0, return_counts=True)[1]
        assert (counts % 2 == 0).all()


def test_labels_of_a_document_and_of_a_place_in_it_are_even_over_passes() -> None:
    """Neither the largest document's rows nor the last rows of documents have one label more often."""
    documents = make_documents([[5] * 400, *[[5] * 30] * 30])
    passes = [pairs_of(documents, number) for number in range(40)]
    large = np.concatenate([pairs.next_sentence_label[(pairs.a_document == 0) & ~pairs.forced] for pairs in passes])
    is_last = [pairs.a_first_sentence + pairs.a_sentences + 2 >= documents.document_offsets[pairs.a_document + 1]
               for pairs in passes]  # fmt: skip
    last = np.concatenate([pairs.next_sentence_label[of] for pairs, of in zip(passes, is_last, strict=True)])

    assert len(last) > 500
    assert abs(large.mean() - 0.5) < 4 * 0.5 * np.sqrt(
        2 / len(large)
    )  # the labels of a block's rows are not independent
    assert abs(last.mean() - 0.5) < 4 * 0.5 * np.sqrt(2 / len(last))
