"""The encoder returns the ids of Hugging Face `tokenizers` for any text."""

from __future__ import annotations

import string
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import BertWordPieceTokenizer

from preprocessing.vocabulary.span_table import SpanTable
from preprocessing.vocabulary.vocabulary import CONTINUATION, SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder

WORDS = ["the", "un", "##want", "##ed", "runn", "##ing", "hello", "Hello", "##llo", "mask", "MASK", "cls", "[unused1]"]
LETTERS = string.ascii_letters + string.digits + "éÉüßñçøıİſKÅΣσςжЖйё中国博推龍가각のガ٠๑"
MARKS = "\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT BELOW}\N{COMBINING LONG SOLIDUS OVERLAY}"
PIECES = [
    *SPECIAL_TOKENS,
    *dict.fromkeys([*WORDS, *LETTERS, *MARKS, *(CONTINUATION + char for char in LETTERS + MARKS), *string.punctuation]),
    *"。，「“’—…＝",
]

# Characters that BERT's normaliser and splitter treat specially, and letters of all kinds.
NASTY = [
    *" \t\n\r\x00\x01\x0b\x0c\x1c\x7f\x85\xa0\xad",  # white space, some only by name, and control characters
    *"\N{OGHAM SPACE MARK}\N{EN SPACE}\N{ZERO WIDTH SPACE}\N{ZERO WIDTH JOINER}\N{LINE SEPARATOR}\N{IDEOGRAPHIC SPACE}",
    *"\N{ZERO WIDTH NO-BREAK SPACE}\N{REPLACEMENT CHARACTER}\N{RIGHT-TO-LEFT MARK}\N{VARIATION SELECTOR-16}",
    *MARKS,
    *"\N{GREEK QUESTION MARK}\N{NOT EQUAL TO}\N{GREEK VARIA}\N{ANGSTROM SIGN}\N{KELVIN SIGN}",  # these decompose
    *"!-/:@[`{~$+<=>^|¡«»¿·–—‘’“”…‰′※⁄、。〈》「〜！／：？［～｡€№☃",
    *"\ue000\U0001f600\U0001f469\U0001f3fd\U0002a6d6\U0002a6d7\U0002f800\U000e0100\U0010ffff",
    "[MASK]",
    "[CLS]",
    "[unused1]",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "é" * 100,
    "é" * 101,
    "中" * 101,
    *LETTERS,
    *WORDS,
]
texts = st.one_of(st.text(), st.lists(st.sampled_from(NASTY), max_size=30).map("".join))


def vocabulary(lowercase: bool, strip_accents: bool | None = None) -> Vocabulary:
    return Vocabulary(tuple(PIECES), lowercase, strip_accents)


Casing = tuple[bool, bool | None]  # lowercase, strip_accents

CASINGS: list[Casing] = [(True, None), (True, False), (False, None), (False, True)]
ENCODERS = {casing: Encoder(vocabulary(*casing)) for casing in CASINGS}
# Uses the BERT class of tokenizers, so that an error in our settings is detected too.
REFERENCES = {
    casing: BertWordPieceTokenizer(vocabulary(*casing).ids, lowercase=casing[0], strip_accents=casing[1])
    for casing in CASINGS
}


def reference_ids(sentences: Sequence[str], casing: Casing) -> list[list[int]]:
    tokenizer = REFERENCES[casing]._tokenizer
    tokenizer.encode_special_tokens = True  # a literal [MASK] is text
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)]


def encoded_ids(encoder: Encoder, sentences: Sequence[str]) -> list[list[int]]:
    ids, offsets, _ = encoder.encode(sentences)
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[start:end].tolist() for start, end in pairwise(offsets)]


@pytest.mark.parametrize("casing", CASINGS)
@settings(deadline=None)  # the first call compiles
@given(sentences=st.lists(texts, max_size=6))
def test_ids_match_tokenizers(casing: Casing, sentences: list[str]) -> None:
    assert encoded_ids(ENCODERS[casing], sentences) == reference_ids(sentences, casing)


def sentences_of_each_character(last: int) -> list[str]:
    """Each character alone, inside a word, in a row, beside punctuation and before a combining mark."""
    codes = [code for code in range(last + 1) if not 0xD800 <= code <= 0xDFFF]
    return [f"{char} a{char}b{char}{char},{char}.{char}\u0301c" for char in map(chr, codes)]


@pytest.mark.parametrize("casing", CASINGS)
@pytest.mark.parametrize("last", [0x33FF, pytest.param(0x10FFFF, marks=pytest.mark.slow)])
def test_each_character_is_encoded_like_tokenizers(last: int, casing: Casing) -> None:
    sentences = sentences_of_each_character(last)

    assert encoded_ids(Encoder(vocabulary(*casing)), sentences) == reference_ids(sentences, casing)


def tokens(text: str, lowercase: bool = True, strip_accents: bool | None = None) -> list[str]:
    ids, _, _ = ENCODERS[lowercase, strip_accents].encode([text])
    return [PIECES[number] for number in ids]


def test_words_are_split_into_their_longest_pieces() -> None:
    assert tokens("UNwantéd,running") == ["un", "##want", "##ed", ",", "runn", "##ing"]
    assert tokens("Hello", lowercase=False) == ["Hello"]


@pytest.mark.parametrize(
    ("lowercase", "strip_accents", "expected"),
    [
        (True, None, ["e", "##t", "##e"]),
        (True, False, ["é", "##t", "##é"]),
        (False, None, ["É", "##t", "##é"]),
        (False, True, ["E", "##t", "##e"]),
    ],
)
def test_casing_and_accents_are_independent(lowercase: bool, strip_accents: bool | None, expected: list[str]) -> None:
    assert tokens("Été", lowercase, strip_accents) == expected


def test_chinese_is_split_by_character() -> None:
    assert tokens("ah博推zz") == ["a", "##h", "博", "推", "z", "##z"]


def test_a_literal_special_token_is_text() -> None:
    assert tokens("[MASK]", lowercase=False) == ["[", "MASK", "]"]
    assert tokens("[MASK] [unused1]")[:3] == ["[", "mask", "]"]


def test_a_word_over_a_hundred_characters_is_unknown() -> None:
    assert tokens("x" * 100) == ["x", *["##x"] * 99]
    assert tokens("x" * 101) == ["[UNK]"]


def test_offsets_count_empty_sentences() -> None:
    ids, offsets, _ = ENCODERS[True, None].encode(["", "a b", "", " \u200d", "c"])

    assert offsets.tolist() == [0, 0, 2, 2, 2, 3]
    assert ids.dtype == np.uint16


def test_empty_input_gives_no_ids() -> None:
    ids, offsets, _ = ENCODERS[True, None].encode([])

    assert (len(ids), offsets.tolist()) == (0, [0])


def test_more_sentences_than_a_block_keep_their_order() -> None:
    sentences = [f"{number}" for number in range(10_000)]

    assert encoded_ids(ENCODERS[True, None], sentences) == reference_ids(sentences, (True, None))


@settings(deadline=None)  # the first call compiles
@given(st.lists(texts, max_size=6), st.integers(1, 20))
def test_table_overflow_does_not_change_ids(sentences: list[str], most_spans: int) -> None:
    encoder = Encoder(vocabulary(True), SpanTable(lowercase=True, most_spans=most_spans, key_words=16))

    assert encoded_ids(encoder, sentences) == reference_ids(sentences, (True, None))
    assert encoded_ids(encoder, sentences[::-1]) == reference_ids(sentences[::-1], (True, None))


def test_large_vocabulary_has_uint32_ids() -> None:
    pieces = (*SPECIAL_TOKENS, *(f"word{number}" for number in range(70_000)))

    ids, _, _ = Encoder(Vocabulary(pieces, lowercase=True)).encode(["word69999"])

    assert ids.dtype == np.uint32
    assert ids.tolist() == [70_004]
