"""A vocabulary is read from vocab.txt or tokenizer.json, and splits text like its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.vocabulary.vocabulary import SPECIAL_TOKENS, Vocabulary
from preprocessing.vocabulary.vocabulary_files import read_vocabulary

PIECES = (*SPECIAL_TOKENS, "the", "##é", "caf", "##e")


@pytest.fixture
def tokenizer_json(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    Vocabulary(PIECES, lowercase=True).tokenizer().save(str(path))
    return path


def test_both_files_give_the_same_vocabulary(tokenizer_json: Path) -> None:
    vocab_txt = tokenizer_json.with_name("vocab.txt")
    Vocabulary(PIECES, lowercase=True).write(vocab_txt)

    config = VocabularyConfig()

    assert read_vocabulary(tokenizer_json, config) == read_vocabulary(vocab_txt, config)
    assert read_vocabulary(tokenizer_json, config).pieces == PIECES


def test_added_tokens_are_part_of_the_vocabulary(tokenizer_json: Path) -> None:
    edit(tokenizer_json, lambda table: table["added_tokens"].append({"id": len(PIECES), "content": "[new]"}))

    assert read_vocabulary(tokenizer_json, VocabularyConfig()).pieces == (*PIECES, "[new]")


def test_casing_must_match_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    Vocabulary(PIECES, lowercase=True, strip_accents=False).tokenizer().save(str(path))

    vocabulary = read_vocabulary(path, VocabularyConfig(strip_accents=False))

    assert (vocabulary.lowercase, vocabulary.strip_accents) == (True, False)
    with pytest.raises(UserError, match=r"casing.*") as raised:
        read_vocabulary(path, VocabularyConfig())
    assert "lowercase=true, strip_accents=false" in str(raised.value)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    table = json.loads(path.read_text())
    change(table)
    path.write_text(json.dumps(table))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table["model"].update(type="BPE"), 'model has type "BPE", but BERT\'s has "WordPiece"'),
        (lambda table: table["normalizer"].update(clean_text=False), "normalizer has clean_text false"),
        (lambda table: table.update(pre_tokenizer=None), "pre_tokenizer has type null"),
        (lambda table: table["model"].update(max_input_chars_per_word=50), "max_input_chars_per_word 50"),
        (lambda table: table["model"]["vocab"].update(the=99), "ids have gaps"),
        (lambda table: table.pop("model"), "model has type null"),
    ],
)
def test_tokenizer_that_splits_differently_is_refused(
    tokenizer_json: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    edit(tokenizer_json, change)

    with pytest.raises(UserError, match=words):
        read_vocabulary(tokenizer_json, VocabularyConfig())


@pytest.mark.parametrize("content", [b"{", b"[]", None])
def test_file_that_is_not_a_tokenizer_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(UserError, match=r"not JSON|not a JSON object|cannot read"):
        read_vocabulary(path, VocabularyConfig())
