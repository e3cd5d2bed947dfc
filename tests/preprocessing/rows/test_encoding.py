"""Groups end where they end whatever comes before them; batches leave no trace in what is encoded."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, strategies as st

from preprocessing.corpus import cleaning
from preprocessing.corpus.cleaning import Dropped, Kept
from preprocessing.rows.encoding import EncodedDocument, Outcome, cut_groups, encode_documents, tokenized
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, "one", "two", "three", "."), lowercase=True)
ONE, TWO, THREE, STOP = range(5, 9)


def kept(text: str) -> Kept:
    return Kept(text, len(text), hashlib.sha256(text.encode()).digest(), "train")


def outcome(size: int) -> Outcome:
    """A document of so many bytes; of 0 bytes: one that was dropped."""
    if size == 0:
        return Dropped("empty")
    return EncodedDocument(np.zeros(0, np.uint16), np.ones(1, np.int64), size, bytes(32), "train", 1, ())


def sizes(group: list[Outcome]) -> list[int]:
    return [document.text_bytes if isinstance(document, EncodedDocument) else 0 for document in group]


def cut(stream: list[int]) -> list[tuple[list[int], bool]]:
    return [(sizes(group), is_last) for group, is_last in cut_groups(map(outcome, stream), 10)]


def test_groups_are_full_and_the_rest_joins_the_last() -> None:
    assert cut([5, 5, 5, 5, 4]) == [([5, 5], False), ([5, 5, 4], True)]
    assert cut([5, 5, 4]) == [([5, 5, 4], True)]
    assert cut([5, 5, 5]) == [([5, 5], False), ([5], True)]
    assert cut([40, 1]) == [([40, 1], True)]  # a rest of 1 would be a crumb
    assert cut([40, 5]) == [([40], False), ([5], True)]
    assert cut([1, 5, 5, 4]) == [([1, 5, 5, 4], True)]  # the group ends above 10, and the rest is below 5
    assert cut([3, 0, 0]) == [([3, 0, 0], True)]
    assert cut([]) == [([], True)]


@given(st.lists(st.integers(0, 40), max_size=40))
def test_groups_are_the_stream_in_order_and_none_is_a_crumb(stream: list[int]) -> None:
    groups = cut(stream)
    assert [size for group, _ in groups for size in group] == stream
    assert [is_last for _, is_last in groups] == [False] * (len(groups) - 1) + [True]
    assert all(sum(group) >= 10 for group, is_last in groups if not is_last)
    if len(groups) > 1:
        assert sum(groups[-1][0]) >= 5


def in_english(_corpus: int) -> str:
    return "en"


def test_each_corpus_is_split_by_its_language() -> None:
    documents = [dataclasses.replace(kept("one。two"), corpus=corpus) for corpus in (0, 1)]
    found = encode_documents(documents, ("en", "zh").__getitem__, Encoder(VOCABULARY))
    lengths = [len(document.sentence_lengths) for document in found if isinstance(document, EncodedDocument)]
    assert lengths == [1, 2]


@given(st.lists(st.integers(0, 40), max_size=40), st.data())
def test_stream_can_be_taken_up_at_any_group(stream: list[int], data: st.DataObject) -> None:
    groups = cut(stream)
    passed = data.draw(st.integers(0, len(groups) - 1))
    rest = stream[sum(len(group) for group, _ in groups[:passed]) :]
    assert cut(rest) == groups[passed:]


@pytest.mark.parametrize("batch_bytes", [1, 20, 1 << 20])
def test_documents_are_encoded_in_order(monkeypatch: pytest.MonkeyPatch, batch_bytes: int) -> None:
    monkeypatch.setattr(cleaning, "_BATCH_BYTES", batch_bytes)
    stream: list[Kept | Dropped] = [
        kept("One two. Three."),
        Dropped("redirect"),
        kept("two"),
        kept("\u200b"),
        kept("one\nthree three"),
    ]
    found = list(encode_documents(stream, in_english, Encoder(VOCABULARY)))
    assert [document.cause if isinstance(document, Dropped) else document.ids.tolist() for document in found] == [
        [ONE, TWO, STOP, THREE, STOP], "redirect", [TWO], "no_word_pieces", [ONE, THREE, THREE],
    ]  # fmt: skip
    lengths = [document.sentence_lengths.tolist() for document in found if isinstance(document, EncodedDocument)]
    assert lengths == [[3, 2], [1], [1, 2]]


def test_documents_are_laid_one_behind_another() -> None:
    stream = encode_documents(
        [kept("one two. Two."), kept("three"), kept("one two. Two.")], in_english, Encoder(VOCABULARY)
    )
    laid = tokenized([document for document in stream if isinstance(document, EncodedDocument)])
    assert laid.ids.tolist() == [ONE, TWO, STOP, TWO, STOP, THREE, ONE, TWO, STOP, TWO, STOP]
    assert laid.sentence_offsets.tolist() == [0, 3, 5, 6, 9, 11]
    assert laid.document_offsets.tolist() == [0, 2, 3, 5]
    assert laid.copies.tolist() == [0, 0, 1]
    assert laid.digests[0].tobytes() == laid.digests[2].tobytes() == hashlib.sha256(b"one two. Two.").digest()


def test_documents_of_one_language_are_known_whatever_their_corpus() -> None:
    languages = {0: "zh", 1: "en", 2: "zh"}
    stream = [dataclasses.replace(kept(f"one {number}."), corpus=number) for number in (0, 1, 2, 1)]
    encoded = encode_documents(stream, languages.__getitem__, Encoder(VOCABULARY))
    laid = tokenized([document for document in encoded if isinstance(document, EncodedDocument)])
    assert laid.languages.tolist() == [1, 0, 1, 0]


def test_no_documents() -> None:
    laid = tokenized([])
    assert laid.ids.size == laid.copies.size == 0
    assert laid.sentence_offsets.tolist() == laid.document_offsets.tolist() == [0]
    assert laid.digests.shape == (0, 32)


def test_text_that_is_split_is_not_split_again() -> None:
    document = dataclasses.replace(kept("one. two\nthree."), is_split=True)
    (found,) = encode_documents([document], in_english, Encoder(VOCABULARY))
    assert isinstance(found, EncodedDocument)
    assert found.sentence_lengths.tolist() == [3, 2]


def test_copies_count_towards_a_group() -> None:
    twice = EncodedDocument(np.zeros(1, np.uint16), np.ones(1, np.int64), 5, bytes(32), "train", 2, ())
    assert [len(group) for group, _ in cut_groups([twice] * 3, 10)] == [1, 1, 1]


def test_short_word_pieces_count_for_four_bytes() -> None:
    stops = EncodedDocument(np.zeros(50, np.uint16), np.ones(1, np.int64), 50, bytes(32), "train", 1, ())
    assert [len(group) for group, _ in cut_groups([stops] * 4, 400)] == [2, 2]


def test_groups_of_long_documents_have_enough_of_them() -> None:
    stream = [outcome(size) for size in [900] * 20]
    groups = [sizes(group) for group, _ in cut_groups(stream, 1_000, 8)]
    assert [len(group) for group in groups] == [8, 8, 4]
    short = [outcome(100)] * 40
    assert [len(group) for group, _ in cut_groups(short, 1_000, 8)] == [10, 10, 10, 10]


def test_a_group_of_long_documents_is_bounded() -> None:
    stream = [outcome(30_000_000) for _ in range(6)]
    assert [len(group) for group, _ in cut_groups(stream, 1_000_000, 32)] == [3, 3]
