"""Vocabularies in files, with the recipe's casing: a data set's own, or a given one.

A given one is a `vocab.txt`, or the `tokenizer.json` of a Hugging Face tokenizer that cuts text as BERT's does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.schema import VocabularyConfig
from preprocessing.dataset import VOCABULARY
from preprocessing.storage import Store
from preprocessing.vocabulary.vocabulary import (
    CONTINUATION,
    MAX_WORD_CHARS,
    UNK,
    Vocabulary,
    check_pieces,
    warn_of_unreachable,
)

# What must stand in a tokenizer.json for its ids to be ours.
_MODEL = {
    "type": "WordPiece",
    "unk_token": UNK,
    "continuing_subword_prefix": CONTINUATION,
    "max_input_chars_per_word": MAX_WORD_CHARS,
}
_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
_PRE_TOKENIZER = {"type": "BertPreTokenizer"}


def read_vocabulary(path: Path, config: VocabularyConfig) -> Vocabulary:
    """The vocabulary in the file, with the recipe's casing.

    Raises `UserError` for what is wrong with the file, for a tokenizer that cuts text otherwise than BERT's, and where
    its casing is not the recipe's.
    """
    if path.suffix != ".json":
        return Vocabulary.read(path, config.lowercase, config.strip_accents)
    tokenizer = _read_json(path)
    for part, expected in (("model", _MODEL), ("normalizer", _NORMALIZER), ("pre_tokenizer", _PRE_TOKENIZER)):
        _expect(tokenizer, part, expected, path)
    vocabulary = Vocabulary(_pieces(tokenizer, path), config.lowercase, config.strip_accents)
    _check_casing(tokenizer["normalizer"], vocabulary, path)
    check_pieces(vocabulary.pieces, path)
    warn_of_unreachable(vocabulary, path)
    return vocabulary


def stored_vocabulary(store: Store, config: VocabularyConfig) -> Vocabulary | None:
    """The vocabulary of the data set in `store`, finished or not; None when there is none yet."""
    content = store.read(VOCABULARY)
    if content is None:
        return None
    return Vocabulary.parse(content, f"{store.place}/{VOCABULARY}", config.lowercase, config.strip_accents)


def _read_json(path: Path) -> dict[str, Any]:
    fix = "give a vocab.txt or tokenizer.json in data.vocabulary.file, or leave it unset to train one"
    try:
        tokenizer = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the vocabulary: {error.strerror}", place=str(path), fix=fix) from error
    except ValueError as error:
        raise UserError(f"not JSON: {error}", place=str(path), fix=fix) from error
    if not isinstance(tokenizer, dict):
        raise UserError("not a tokenizer: no JSON object", place=str(path), fix=fix)
    return tokenizer


def _expect(tokenizer: dict[str, Any], part: str, expected: dict[str, Any], path: Path) -> None:
    found = tokenizer.get(part)
    settings = found if isinstance(found, dict) else {}
    for key, value in expected.items():
        if settings.get(key) != value:
            cause = f"the tokenizer's {part} has {key} {json.dumps(settings.get(key))}, but BERT's {json.dumps(value)}"
            raise UserError(cause, place=str(path), fix="give the tokenizer of a BERT, or a vocab.txt")


def _pieces(tokenizer: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The pieces by id, added tokens included."""
    ids: dict[str, int] = dict(tokenizer["model"]["vocab"])
    ids |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    pieces = sorted(ids, key=lambda piece: ids[piece])
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        fix = "give a tokenizer whose ids run from 0 on, each once"
        raise UserError("the vocabulary's ids have gaps or stand twice", place=str(path), fix=fix)
    return tuple(pieces)


def _check_casing(normalizer: dict[str, Any], vocabulary: Vocabulary, path: Path) -> None:
    lowercase = bool(normalizer.get("lowercase"))
    stated = normalizer.get("strip_accents")
    strip_accents = lowercase if stated is None else bool(stated)
    if (lowercase, strip_accents) != (vocabulary.lowercase, vocabulary.strip_accents):
        settings = f"lowercase={json.dumps(lowercase)}, strip_accents={json.dumps(strip_accents)}"
        fix = f"set in data.vocabulary {settings}"
        raise UserError("the tokenizer's casing is not the recipe's", place=str(path), fix=fix)
