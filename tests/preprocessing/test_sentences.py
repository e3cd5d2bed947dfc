"""Sentences as a reader would part them, and nothing of the text lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.filters import clean
from preprocessing.sentences import split_sentences


@pytest.mark.parametrize(
    ("language", "text", "sentences"),
    [
        ("en", "One here. Two here! Three?", ["One here.", "Two here!", "Three?"]),
        ("en", "Mr. Smith of the U.S. Army paid $3.50 in Fig. 3. He left.",
         ["Mr. Smith of the U.S. Army paid $3.50 in Fig. 3.", "He left."]),
        ("en", 'He said "Go on." Then he left.', ['He said "Go on."', "Then he left."]),
        ("en", "A heading\nThe text below it. More.", ["A heading", "The text below it.", "More."]),
        ("en", "first line without a stop\nsecond line", ["first line without a stop", "second line"]),
        ("de", "Es kostet z.B. 3 Euro. Am 3. Mai kam er.", ["Es kostet z.B. 3 Euro.", "Am 3. Mai kam er."]),
        ("zh", "这是一个句子。这是第二个！真的吗？", ["这是一个句子。", "这是第二个！", "真的吗？"]),
        ("xx", "Of no known tongue. But split.", ["Of no known tongue.", "But split."]),
        ("en", "", []),
    ],
)  # fmt: skip
def test_sentences(language: str, text: str, sentences: list[str]) -> None:
    assert split_sentences(text, language) == sentences


@given(st.lists(st.sampled_from([*'aB1. !?"()\n', "Mr. ", "é", "。", "…"])))
def test_no_character_is_lost(parts: list[str]) -> None:
    text = clean("".join(parts))
    sentences = split_sentences(text, "en")
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" and "\n" not in sentence for sentence in sentences)
