"""Cuts do not change the encoding, and equal spans get equal numbers."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.vocabulary.span_cuts import WordSplitter, cut_out_characters, joined
from preprocessing.vocabulary.span_table import END_OF_SENTENCE, SpanTable, hash_of_key


def spans_of(sentences: list[str], lowercase: bool = True) -> list[list[str]]:
    table = SpanTable(lowercase)
    text = joined(sentences)
    stream, position = table.scan(text, 0)
    assert position == len(text)
    texts = table.texts()
    result: list[list[str]] = [[]]
    for number in stream.tolist():
        if number == END_OF_SENTENCE:
            result.append([])
        else:
            result[-1].append(texts[number])
    return result[:-1]


def test_spans_end_at_white_space_punctuation_and_chinese() -> None:
    assert spans_of(["Don't  stop,\tNOW!", "", "Zürich中国 “naïve”。x"]) == [
        ["don", "'", "t", "stop", ",", "now", "!"],
        [],
        ["zürich", "中", "国", "“", "naïve", "”", "。", "x"],
    ]


def test_a_cased_table_keeps_capitals() -> None:
    assert spans_of(["Ab AB"], lowercase=False) == [["Ab", "AB"]]


def test_control_characters_are_removed_from_words() -> None:
    assert spans_of(["a\x00b\x7f\x0bc \x01 d"]) == [["abc", "d"]]


def test_long_words_are_not_cut() -> None:
    words = ["x" * length for length in range(1, 40)]

    assert spans_of([" ".join(words)]) == [words]


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(), max_size=5))
def test_spans_lose_nothing_but_spaces_and_control_characters(sentences: list[str]) -> None:
    kept = ["".join(char for char in sentence if char > " " and char != "\x7f") for sentence in sentences]

    spans = spans_of(sentences, lowercase=False)

    assert ["".join(span) for span in spans] == kept


def test_spans_are_numbered_in_order_of_appearance() -> None:
    table = SpanTable(lowercase=True)

    stream, _ = table.scan(joined(["b a b", "a c"]), 0)

    assert stream.tolist() == [0, 1, 0, END_OF_SENTENCE, 1, 2, END_OF_SENTENCE]
    assert table.texts() == ["b", "a", "c"]
    assert table.texts(first=2) == ["c"]


def hash_of(word: bytes) -> int:
    keys = np.frombuffer(word, np.uint64)
    return int(hash_of_key(keys, 0, len(keys)))


def test_words_with_equal_hashes_are_different_spans() -> None:
    # The hash of 16 bytes mixes the hash of the first 8 with the last 8: beginnings with different hashes meet again
    # when their endings differ in the same bits. Look for a difference that letters and digits can make up.
    letters = (string.ascii_letters + string.digits).encode()
    made_of = {one ^ other: (one, other) for one in letters for other in letters}
    words: list[bytes] = []
    for number in range(10_000):
        first = f"{number:08}".encode()
        second = first[::-1]
        difference = (hash_of(first) ^ hash_of(second)).to_bytes(8, "little")
        if first != second and all(byte in made_of for byte in difference):
            words = [first + bytes(made_of[byte][0] for byte in difference)]
            words.append(second + bytes(made_of[byte][1] for byte in difference))
            break
    assert hash_of(words[0]) == hash_of(words[1])

    spans = [word.decode() for word in words]
    assert spans_of([" ".join(spans)], lowercase=False) == [spans]


def test_full_table_stops_and_resumes_after_clear() -> None:
    table = SpanTable(lowercase=True, most_spans=3)
    text = joined(["a b a c d", "e"])

    first, position = table.scan(text, 0)
    assert first.tolist() == [0, 1, 0, 2]
    assert not table.has_room(len(text) - position)
    table.clear(len(text) - position)
    second, position = table.scan(text, position)

    assert second.tolist() == [0, END_OF_SENTENCE, 1, END_OF_SENTENCE]
    assert table.texts() == ["d", "e"]
    assert position == len(text)


def test_keys_grow_for_a_longer_text() -> None:
    table = SpanTable(lowercase=True, most_spans=4, key_words=8)
    text = joined(["ü" * 1000])

    assert not table.has_room(len(text))
    table.clear(len(text))
    table.scan(text, 0)

    assert table.texts() == ["ü" * 1000]


@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizers_cuts_out_the_same_characters(lowercase: bool) -> None:
    words = WordSplitter(lowercase).words
    before, after = "é\N{COMBINING CEDILLA}", "\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT BELOW}é"
    words_before, words_after = words(before), words(after)

    wrong = [
        hex(code)
        for code in np.flatnonzero(cut_out_characters()).tolist()
        if words(before + chr(code) + after) != words_before + words(chr(code)) + words_after
    ]

    assert wrong == []
