"""Read vocabularies from files, with the recipe's casing: a data set's vocabulary, or one that the user provides.

A user's vocabulary is a `vocab.txt`, or the `tokenizer.json` of a Hugging Face tokenizer: one that splits text like
BERT's, which becomes a `vocab.txt`, or with `kind="tokenizer"` any.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, read_bounded
from configs.schema import Objective, VocabularyConfig
from preprocessing.dataset import TOKENIZER, vocabulary_file
from preprocessing.storage import Store
from preprocessing.vocabulary.reachability import warn_of_unreachable
from preprocessing.vocabulary.tokenizer_json import UNK, TokenizerJson, parse_json
from preprocessing.vocabulary.vocabulary import (
    CONTINUATION,
    MAX_WORD_CHARS,
    Vocabulary,
    check_pieces,
)

# The settings that a tokenizer.json must have to produce the same ids as `wordpiece.Encoder`.
_MODEL = {
    "type": "WordPiece",
    "unk_token": UNK,
    "continuing_subword_prefix": CONTINUATION,
    "max_input_chars_per_word": MAX_WORD_CHARS,
}
_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
_PRE_TOKENIZER = {"type": "BertPreTokenizer"}
_OTHER_FIX = (
    'use the tokenizer of a BERT model, or a vocab.txt, or set data.vocabulary.kind="tokenizer" for any tokenizer'
)

logger = logging.getLogger(__name__)


def read_vocabulary(path: Path, config: VocabularyConfig, objective: Objective = "none") -> Vocabulary:
    """Read the vocabulary in the file, with the recipe's casing.

    Raises `UserError` for an invalid file; for a tokenizer that splits text differently from BERT's, or whose casing
    differs from the recipe's, unless the recipe allows any; and for one that lacks the special tokens of pairs, if the
    objective needs them. Those that single segments need are added.
    """
    if config.kind == "tokenizer":
        return _read_tokenizer(path, objective)
    vocabulary = _read_vocabulary(path, config)
    warn_of_unreachable(vocabulary, path)
    return vocabulary


def _read_vocabulary(path: Path, config: VocabularyConfig) -> Vocabulary:
    if path.suffix != ".json":
        return Vocabulary.read(path, config.lowercase, config.strip_accents)
    tokenizer = parse_json(_read(path), str(path))
    check_tokenizer(tokenizer, path)
    vocabulary = Vocabulary(_pieces(tokenizer, path), config.lowercase, config.strip_accents)
    _check_casing(tokenizer["normalizer"], vocabulary, path)
    check_pieces(vocabulary.pieces, path)
    return vocabulary


def check_tokenizer(tokenizer: dict[str, Any], path: Path) -> None:
    """Raise `UserError` unless the content of a tokenizer.json describes a tokenizer that splits text like BERT's."""
    for part, expected in (("model", _MODEL), ("normalizer", _NORMALIZER), ("pre_tokenizer", _PRE_TOKENIZER)):
        _expect(tokenizer, part, expected, path)


def stored_vocabulary(store: Store, config: VocabularyConfig) -> Vocabulary | None:
    """Return the vocabulary of the data set in `store`, complete or not, or None when it does not exist yet."""
    file = vocabulary_file(config)
    content, place = store.read(file, MOST_MODEL_BYTES), f"{store.place}/{file}"
    if content is None:
        return None
    if file == TOKENIZER:
        return Vocabulary.of_tokenizer(TokenizerJson.parse(content, place))
    return Vocabulary.parse(content, place, config.lowercase, config.strip_accents)


def _read_tokenizer(path: Path, objective: Objective) -> Vocabulary:
    source = TokenizerJson.parse(_read(path), str(path))
    if source.added and objective != "none":
        cause = f"the tokenizer lacks {', '.join(source.added)}, which the objective `{objective}` needs"
        fix = 'add them to the tokenizer as special tokens, or set data.objective="none"'
        raise UserError(cause, place=str(path), fix=fix)
    if source.added:
        logger.warning("%s: added to the vocabulary, which lacks them: %s", path, ", ".join(source.added))
    return Vocabulary.of_tokenizer(source)


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, MOST_MODEL_BYTES)
    except OSError as error:
        fix = "set data.vocabulary.file to a vocab.txt or tokenizer.json, or leave it unset to train one"
        raise UserError(f"cannot read the vocabulary: {error.strerror}", place=str(path), fix=fix) from error


def _expect(tokenizer: dict[str, Any], part: str, expected: dict[str, Any], path: Path) -> None:
    found = tokenizer.get(part)
    settings = found if isinstance(found, dict) else {}
    if part == "model" and "vocab" in settings:
        settings = {"type": _MODEL["type"]} | settings  # the first versions of the format state no type
    for key, value in expected.items():
        if settings.get(key) != value:
            found_json, expected_json = json.dumps(settings.get(key)), json.dumps(value)
            cause = f"the tokenizer's {part} has {key} {found_json}, but BERT's has {expected_json}"
            raise UserError(cause, place=str(path), fix=_OTHER_FIX)


def _pieces(tokenizer: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the pieces in the order of their ids, including added tokens."""
    ids: dict[str, int] = dict(tokenizer["model"]["vocab"])
    ids |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    pieces = sorted(ids, key=lambda piece: ids[piece])
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        fix = "use a tokenizer whose ids are consecutive, start at 0, and are unique"
        raise UserError("the vocabulary's ids have gaps or duplicates", place=str(path), fix=fix)
    return tuple(pieces)


def _check_casing(normalizer: dict[str, Any], vocabulary: Vocabulary, path: Path) -> None:
    lowercase = bool(normalizer.get("lowercase"))
    stated = normalizer.get("strip_accents")
    strip_accents = lowercase if stated is None else bool(stated)
    if (lowercase, strip_accents) != (vocabulary.lowercase, vocabulary.strip_accents):
        settings = f"lowercase={json.dumps(lowercase)}, strip_accents={json.dumps(strip_accents)}"
        fix = f"set {settings} in data.vocabulary"
        raise UserError("the tokenizer's casing differs from the recipe's", place=str(path), fix=fix)
