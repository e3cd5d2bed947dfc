"""Whole words of any tokenizer are those of its splitter, told from the ids alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from configs.schema import MaskingConfig
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from preprocessing.vocabulary.tokenizer_json import TokenizerJson
from preprocessing.vocabulary.vocabulary import Vocabulary
from preprocessing.vocabulary.whole_words import continues_word, require_words, shown_pieces
from tests.preprocessing.corpora import make_documents, small_config, write_text
from tests.preprocessing.vocabulary.tokenizers_of_each_kind import LINES, tokenizer_of, vocabulary_of

WORDS = MaskingConfig(whole_word_masking=True)
TELLING = ["gpt2", "roberta", "llama3", "xlmr", "albert", "t5", "cased_bert", "plain_word_piece", "clip", "letters"]


@pytest.mark.parametrize("kind", TELLING)
def test_words_are_those_of_the_splitter(kind: str) -> None:
    vocabulary = vocabulary_of(kind)
    encodings = [vocabulary.tokenizer().encode(line, add_special_tokens=False) for line in LINES]
    for encoding in encodings:
        ids = np.array(encoding.ids, np.uint16)
        same_word = [False] + [a == b for a, b in zip(encoding.word_ids, encoding.word_ids[1:], strict=False)]
        assert continues_word(ids, vocabulary, WORDS).tolist()[1:] == same_word[1:], encoding.tokens


def test_contractions_and_numbers_are_words_of_a_byte_level_tokenizer() -> None:
    vocabulary = vocabulary_of("gpt2")
    encoding = vocabulary.tokenizer().encode(" They'll say: don't-give 12,345!", add_special_tokens=False)
    flags = continues_word(np.array(encoding.ids, np.uint16), vocabulary, WORDS).tolist()
    text = "".join(("" if flag else "|") + token for token, flag in zip(encoding.tokens, flags, strict=True))
    assert text == "|ĠThey|'ll|Ġsay|:|Ġdon|'t|-|give|Ġ12|,|345|!"


def test_a_row_can_begin_and_end_inside_a_character() -> None:
    vocabulary = vocabulary_of("gpt2")
    ids = np.array(vocabulary.tokenizer().encode("ญ ญ", add_special_tokens=False).ids, np.uint16)
    assert len(ids) > 4
    assert continues_word(ids[1:-1], vocabulary, WORDS).tolist()[0] is False
    rows = np.concatenate([ids[1:], [vocabulary.id_of("[SEP]")], ids[:1]]).astype(np.uint16)
    assert continues_word(rows, vocabulary, WORDS).tolist()[-2:] == [False, False]


def test_tokens_that_do_not_tell_words_are_refused() -> None:
    fields = json.loads(tokenizer_of("clip").to_str())
    fields["model"]["end_of_word_suffix"] = None
    vocabulary = Vocabulary.of_tokenizer(TokenizerJson.parse(json.dumps(fields).encode(), "tokenizer.json"))
    require_words(vocabulary, MaskingConfig())
    with pytest.raises(UserError, match="the tokens of this tokenizer do not tell where words begin"):
        require_words(vocabulary, WORDS)


def test_whole_words_are_masked_and_verified(tmp_path: Path) -> None:
    write_text(tmp_path / "text.txt", make_documents(120))
    given = {"kind": "tokenizer", "size": 300}
    config = small_config(
        tmp_path / "dataset", tmp_path / "text.txt", objective="none", whole_word_masking=True, vocabulary=given
    )
    prepare(config)
    assert list(verify(tmp_path / "dataset")) == []


def test_byte_level_pieces_are_shown_as_text() -> None:
    vocabulary = vocabulary_of("gpt2")
    shown = shown_pieces(vocabulary)
    assert len(set(shown)) == len(vocabulary)
    line = vocabulary.tokenizer().encode(LINES[0], add_special_tokens=False).ids
    assert "".join(shown[token] for token in line).replace("\u2581", " ") == LINES[0]
    assert shown[vocabulary.pieces.index("\u00ec")] == "\\xec"  # the first byte of a Korean letter
    assert shown[vocabulary.pieces.index("\u0120")] == "\u2581"
    assert shown[vocabulary.id_of("[MASK]")] == vocabulary.name_of("[MASK]")
    assert all(text.isprintable() for text in shown)


@pytest.mark.parametrize("kind", ["xlmr", "cased_bert"])
def test_other_pieces_are_shown_as_they_are(kind: str) -> None:
    assert shown_pieces(vocabulary_of(kind)) == vocabulary_of(kind).pieces
