"""Any tokenizer's encoder returns the ids of Hugging Face `tokenizers` for any text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.vocabulary.blank_cuts import separation
from preprocessing.vocabulary.span_table import SpanTable
from preprocessing.vocabulary.tokenizer_encoder import TokenizerEncoder, encoder_of
from preprocessing.vocabulary.tokenizer_json import UNK
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder
from tests.preprocessing.vocabulary.test_wordpiece import NASTY
from tests.preprocessing.vocabulary.tokenizers_of_each_kind import CUT, KINDS, LINES, tokenizer_of, vocabulary_of

_BLANKS = [
    " ",
    "  ",
    "\t",
    "\n",
    "\u2581",
    "\u3000",
    "\xa0",
    "´",
    "¨",
    "ﾞ",
    "\ufffd",
    "<s>",
    "<mask>",
    "'s",
    "'ll",
    "it was",
]
_WORDS = [word for line in LINES for word in line.split()]
texts = st.one_of(
    st.text(),
    st.lists(st.sampled_from([*NASTY, *_BLANKS, *_WORDS]), max_size=30).map("".join),
    st.lists(st.sampled_from([*_WORDS, *_BLANKS]), max_size=12).map(" ".join),
)


def encoder(kind: str) -> TokenizerEncoder:
    made = encoder_of(vocabulary_of(kind))
    assert isinstance(made, TokenizerEncoder)
    return made


ENCODERS = {kind: encoder(kind) for kind in KINDS}


def reference_ids(kind: str, sentences: Sequence[str]) -> list[list[int]]:
    tokenizer, vocabulary = tokenizer_of(kind), vocabulary_of(kind)
    tokenizer.encode_special_tokens = True  # a literal special token is text
    encodings = tokenizer.encode_batch(list(sentences), add_special_tokens=False)
    assert vocabulary.source
    special = {vocabulary.ids[name] for name in vocabulary.source.special}
    return [[vocabulary.id_of(UNK) if number in special else number for number in one.ids] for one in encodings]


def encoded_ids(encoder: TokenizerEncoder, sentences: Sequence[str]) -> list[list[int]]:
    ids, offsets, _ = encoder.encode(sentences)
    assert offsets[0] == 0
    assert offsets[-1] == len(ids)
    return [ids[start:end].tolist() for start, end in pairwise(offsets)]


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)  # the first call compiles
@given(sentences=st.lists(texts, max_size=6))
def test_ids_match_tokenizers(kind: str, sentences: list[str]) -> None:
    assert encoded_ids(ENCODERS[kind], sentences) == reference_ids(kind, sentences)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_real_lines_match_tokenizers(kind: str) -> None:
    lines = [*LINES, *(f" {line}" for line in LINES), *(f"{line} {other}" for line, other in pairwise(LINES))]

    assert encoded_ids(ENCODERS[kind], lines * 2) == reference_ids(kind, lines * 2)


@pytest.mark.parametrize("kind", sorted(CUT))
def test_each_character_beside_a_blank_is_encoded_like_tokenizers(kind: str) -> None:
    codes = [code for code in range(0x3400) if not 0xD800 <= code <= 0xDFFF]
    sentences = [f"{char} a{char} b {char}{char} {char}\u0301 c" for char in map(chr, codes)]

    assert encoded_ids(encoder(kind), sentences) == reference_ids(kind, sentences)


def test_text_is_cut_at_blanks_where_the_tokenizer_allows_it() -> None:
    assert {kind for kind, one in ENCODERS.items() if one.is_cut} == CUT
    sources = {kind: vocabulary_of(kind).source for kind in KINDS}
    kept = {kind for kind, source in sources.items() if source and separation(source) == "kept"}
    assert kept == {"gpt2", "roberta", "llama3", "modernbert", "t5"}


def test_a_table_that_overflows_changes_no_id() -> None:
    vocabulary = vocabulary_of("modernbert")
    assert vocabulary.source
    for most_spans in (1, 7):
        whole = ENCODERS["modernbert"]
        small = TokenizerEncoder(vocabulary, vocabulary.source)
        small._table = SpanTable(False, most_spans=most_spans, key_words=16, cutter=whole._table._cutter)
        assert encoded_ids(small, LINES) == encoded_ids(whole, LINES)


def test_unknown_characters_are_counted() -> None:
    _, _, characters = ENCODERS["cased_bert"].encode(["the ☃☃ times", "the age", ""])
    assert characters.tolist() == [[10, 2, 0], [6, 0, 0], [0, 0, 0]]
    _, _, characters = ENCODERS["gpt2"].encode(["the ☃☃ times"])
    assert characters.tolist() == [[10, 0, 0]]


def test_text_yields_no_special_token() -> None:
    for kind in KINDS:
        vocabulary = vocabulary_of(kind)
        names = " ".join([*SPECIAL_TOKENS, *map(vocabulary.name_of, SPECIAL_TOKENS)])
        ids, _, _ = ENCODERS[kind].encode([names, names.replace(" ", "")])
        assert not set(ids.tolist()) & {vocabulary.id_of(token) for token in SPECIAL_TOKENS if token != UNK}


def test_the_blank_before_a_sentence_is_a_part_of_byte_level_tokens_only() -> None:
    assert {kind for kind, one in ENCODERS.items() if one.follows_blank} == {"gpt2", "llama3", "modernbert"}


def test_a_word_piece_vocabulary_has_its_own_encoder() -> None:
    assert isinstance(encoder_of(Vocabulary(SPECIAL_TOKENS, True)), Encoder)


def test_large_vocabularies_have_wider_ids() -> None:
    ids, _, _ = ENCODERS["gpt2"].encode(["a"])
    assert ids.dtype == np.uint16
