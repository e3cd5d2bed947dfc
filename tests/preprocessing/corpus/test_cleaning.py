"""Cleaning changes the form, never what BERT sees; a digest decides the split."""

from __future__ import annotations

import hashlib
import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from configs.schema import CorpusConfig, DataConfig
from preprocessing.corpus.cleaning import Dropped, Kept, clean, copies_of, keep, split_of
from preprocessing.documents.reader import Document
from preprocessing.vocabulary.vocabulary import bert_normalizer, bert_splitter

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def judge(text: str, **config: Any) -> Kept | str:
    outcome = keep(Document(text, "here"), DataConfig.model_validate(config))
    return outcome.cause if isinstance(outcome, Dropped) else outcome


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a  b\t c \r\n\r\n d \re ", "a b c\nd\ne"),
        ("a\0b\x01c\x7fd", "abcd"),
        ("one\ftwo\vthree\x1cfour\x1ffive", "one\ntwo\nthree\nfour five"),
        ("a\u00a0b\u3000\u2009c", "a b c"),
        ("a\u2028b\u2029c\u0085d", "a\nb\nc\nd"),
        ("e\u0301", "é"),
        ("Å \u212b", "Å Å"),
        ("soft\u00adhyphen zero\u200bwidth", "soft\u00adhyphen zero\u200bwidth"),
        (" \n\t\0\n", ""),
    ],
)
def test_clean_returns_the_canonical_form(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(ANY_TEXT)
def test_clean_text_is_canonical(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert all(line and line == line.strip() for line in cleaned.split("\n")) or cleaned == ""


@given(ANY_TEXT.filter(lambda text: not set(text) & set("\v\f\x1c\x1d\x1e\x1f\x85")))
def test_cleaning_does_not_change_uncased_bert_tokens(text: str) -> None:
    """Words parted by a form feed and its like are the one exception, which BERT would run together."""

    def words(text: str) -> list[str]:
        return [
            word for word, _ in bert_splitter().pre_tokenize_str(bert_normalizer(lowercase=True).normalize_str(text))
        ]

    assert words(clean(text)) == words(text)


def test_kept_document_has_digest_and_split() -> None:
    kept = judge("Käse\r\n", held_out_fraction=0.0)
    assert kept == Kept("Käse", 5, hashlib.sha256("Käse".encode()).digest(), "train")


@pytest.mark.parametrize(
    ("text", "cause"), [("", "empty"), (" \0\n", "empty"), ("abcd", "too_short"), ("a    b", "too_short")]
)
def test_dropped_document_has_a_cause(text: str, cause: str) -> None:
    assert judge(text, min_document_chars=5) == cause


def test_length_counts_characters_after_cleaning() -> None:
    assert isinstance(judge("äöüßé", min_document_chars=5), Kept)


def test_cause_of_the_reader_takes_precedence() -> None:
    document = Document("text", "here", drop="redirect", span=3, read_bytes=17)
    assert keep(document, DataConfig()) == Dropped("redirect", 3, 17)


def test_repairs_are_recorded() -> None:
    kept = keep(Document("te\ufffdxt\0", "here", repairs=("invalid_utf8_replaced",)), DataConfig())
    assert isinstance(kept, Kept)
    assert kept.repairs == ("invalid_utf8_replaced", "control_characters_removed")


def test_wikitext_is_rendered() -> None:
    config = DataConfig(corpora=[CorpusConfig(paths=["dump.xml"], format="wikipedia")])
    kept = keep(Document("A '''[[dog]]'''.", "here", is_wikitext=True), config)
    assert isinstance(kept, Kept)
    assert kept.text == "A dog."


def test_split_depends_on_the_digest_only() -> None:
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(4_000)]
    held_out = sum(split_of(digest, 0.25) == "held_out" for digest in digests)
    assert abs(held_out - 1_000) < 4 * (4_000 * 0.25 * 0.75) ** 0.5
    assert {split_of(digest, 0.0) for digest in digests} == {"train"}
    assert all(split_of(digest, 0.5) == "held_out" for digest in digests if split_of(digest, 0.25) == "held_out")


def test_equal_documents_are_in_one_split() -> None:
    first, second = judge("Some  text\r\n", held_out_fraction=0.5), judge("Some text", held_out_fraction=0.5)
    assert first == second


@pytest.mark.parametrize(
    ("text", "is_counted"), [("a\0b", True), ("a\x7fb", True), ("a\x1b[0mb", True), ("a\tb\r\nc\fd\x85e", False)]
)
def test_removed_controls_are_counted(text: str, is_counted: bool) -> None:
    kept = judge(text)
    assert isinstance(kept, Kept)
    assert kept.repairs == (("control_characters_removed",) if is_counted else ())


def test_byte_order_marks_are_removed() -> None:
    assert judge("\ufeffone\n\ufefftwo") == judge("one\ntwo")


DIGESTS = [hashlib.sha256(str(number).encode()).digest() for number in range(4_000)]


@pytest.mark.parametrize(("weight", "whole"), [(1.0, 1), (3.0, 3), (2.25, 2), (0.25, 0)])
def test_weight_determines_the_number_of_copies(weight: float, whole: int) -> None:
    copies = [copies_of(digest, weight) for digest in DIGESTS]
    more = sum(taken == whole + 1 for taken in copies)
    assert sum(taken == whole for taken in copies) == len(copies) - more
    share = weight - whole
    assert abs(more - 4_000 * share) <= 4 * (4_000 * share * (1 - share)) ** 0.5


def test_held_out_documents_have_at_most_one_copy() -> None:
    assert {Kept("", 0, b"", "held_out", copies_of(digest, 7.5)).times for digest in DIGESTS} == {1}
    assert {Kept("", 0, b"", "held_out", copies_of(digest, 0.5)).times for digest in DIGESTS} == {0, 1}
    assert {Kept("", 0, b"", "train", copies_of(digest, 7.5)).times for digest in DIGESTS} == {7, 8}


def test_higher_weight_never_gives_fewer_copies() -> None:
    counts = [[copies_of(digest, weight) for digest in DIGESTS] for weight in (0.3, 0.6, 1.0, 1.4, 2.0)]
    assert all(few <= more for one, other in pairwise(counts) for few, more in zip(one, other, strict=True))


def test_split_is_independent_of_the_sampling() -> None:
    held_out = [digest for digest in DIGESTS if split_of(digest, 0.5) == "held_out"]
    taken = sum(copies_of(digest, 0.5) for digest in held_out)
    assert abs(taken - len(held_out) / 2) <= 4 * (len(held_out) / 4) ** 0.5


def test_kept_document_has_copies_by_weight() -> None:
    assert keep(Document("text", "here", weight=3.0), DataConfig(held_out_fraction=0.0)) == Kept(
        "text", 4, hashlib.sha256(b"text").digest(), "train", copies=3
    )
    causes = {keep(Document(str(number), "here", weight=0.01), DataConfig()) for number in range(40)}
    assert Dropped("not_sampled") in causes


def test_combining_marks_without_end_are_composed_in_linear_time() -> None:
    """Python sorts them in quadratic time: these would take hours."""
    marks = "\u0315\u0300\u05ae\u0323\u0327"
    text = clean("a" + marks * 200_000 + " e\u0301")
    assert text.endswith(" é")
    assert len(text) == 1 + 5 * 200_000 + 2
    assert clean("a" + marks * 12) == unicodedata.normalize("NFC", "a" + marks * 12)
