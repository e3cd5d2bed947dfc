"""The vocabulary in a Hugging Face folder: the word piece of each row of the embeddings.

vocab.txt           one word piece per line
tokenizer.json      the same vocabulary, and the tokens that were added to it
added_tokens.json   the added tokens in folders without tokenizer.json
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, read_bounded
from preprocessing.dataset import VOCABULARY
from preprocessing.vocabulary import TokenizerJson, Vocabulary, warn_of_unreachable
from pretrain.huggingface.json_files import as_object, read_json_if_there
from pretrain.huggingface.tokenizer_settings import (
    TOKENIZER,
    TOKENIZER_CONFIG,
    Casing,
    check_special_tokens,
    is_other_tokenizer,
    read_casing,
)

ADDED_TOKENS = "added_tokens.json"
_FIX = "give a folder whose tokenizer belongs to its model"

logger = logging.getLogger(__name__)


def read_tokenizer(folder: Path, rows: int, unstated: Casing) -> Vocabulary:
    """Read the vocabulary of a model with `rows` embeddings. Where its files state no casing, it is `unstated`.

    Ids without a piece of their own are kept as `[unusedN]`, as in the published vocabularies. Raises `UserError` if
    BERT's tokenizer has other settings, if the files contradict each other, and if a piece has no row.
    """
    if is_other_tokenizer(folder):
        return _read_any(folder, rows)
    casing = read_casing(folder, unstated)
    tokenizer = read_json_if_there(folder / TOKENIZER)
    of_json = _ids(as_object(as_object(tokenizer.get("model")).get("vocab")), folder / TOKENIZER)
    of_text = _read_lines(folder / VOCABULARY)
    if of_text and of_json and of_text != of_json:
        raise UserError(f"{VOCABULARY} and {TOKENIZER} hold different word pieces", place=str(folder), fix=_FIX)
    known = of_text or of_json
    if not known:
        raise UserError(f"no {VOCABULARY} and no {TOKENIZER}", place=str(folder), fix="download one of them")
    added = {piece: number for piece, number in _added(folder, tokenizer).items() if piece not in known}
    pieces = _pieces(known | added, rows, folder)
    if added:
        text = "%s: %d added tokens are kept as word pieces, and no longer matched inside other text: %s"
        logger.warning(text, folder, len(added), _some(added))
    content = "".join(f"{piece}\n" for piece in pieces).encode()
    lowercase = True if casing.lowercase is None else casing.lowercase
    path = folder / (VOCABULARY if of_text else TOKENIZER)
    vocabulary = Vocabulary.parse(content, path, lowercase, casing.strip_accents)
    warn_of_unreachable(vocabulary, path)
    return vocabulary


def _read_any(folder: Path, rows: int) -> Vocabulary:
    """Read a tokenizer that is not BERT's from its tokenizer.json."""
    path = folder / TOKENIZER
    source = TokenizerJson.parse(read_bounded(path, MOST_MODEL_BYTES), str(path))
    if source.added:
        cause = f"the tokenizer lacks {', '.join(source.added)}, or has them under names that are not known"
        raise UserError(cause, place=str(path), fix="give a model that was trained with masked words")
    check_special_tokens(folder, source.names)
    vocabulary = Vocabulary.of_tokenizer(source)
    if len(vocabulary) > rows:
        cause = f"the vocabulary has {len(vocabulary):,} word pieces, but the weights have {rows:,}"
        raise UserError(cause, place=str(folder), fix=_FIX)
    return vocabulary


def _read_lines(path: Path) -> dict[str, int]:
    """Return the ids of the pieces in vocab.txt. Of equal lines the last counts, as in transformers."""
    try:
        text = read_bounded(path, MOST_MODEL_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the vocabulary: {cause}", place=str(path), fix="download it again") from error
    # Not splitlines(): published vocabularies hold U+0085 and U+2028 as pieces.
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return {line: number for number, line in enumerate(lines) if line}


def _added(folder: Path, tokenizer: dict[str, Any]) -> dict[str, int]:
    """Return the ids of the added tokens, by all three files that can state them."""
    decoder = as_object(read_json_if_there(folder / TOKENIZER_CONFIG).get("added_tokens_decoder"))
    try:
        of_config = {token["content"]: number for number, token in decoder.items()}
        of_json = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError("the added tokens are not a list of tokens", place=str(folder), fix=_FIX) from error
    return _ids(read_json_if_there(folder / ADDED_TOKENS) | of_config | of_json, folder)


def _ids(stated: dict[str, Any], place: Path) -> dict[str, int]:
    try:
        return {piece: int(number) for piece, number in stated.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError("the word pieces have no ids", place=str(place), fix="download it again") from error


def _pieces(ids: dict[str, int], rows: int, folder: Path) -> list[str]:
    """Return the pieces in the order of their ids, with `[unusedN]` in the gaps."""
    by_id = {number: piece for piece, number in ids.items()}
    if len(by_id) < len(ids):
        raise UserError("two word pieces have the same id", place=str(folder), fix=_FIX)
    if not 0 <= min(by_id) <= max(by_id) < rows:
        cause = f"the vocabulary has {max(by_id) + 1:,} word pieces, but the weights have {rows:,}"
        raise UserError(cause, place=str(folder), fix=_FIX)
    gaps = [number for number in range(max(by_id)) if number not in by_id]
    if gaps:
        logger.warning("%s: %d ids have no word piece of their own, and are kept as [unusedN]", folder, len(gaps))
    unused = (name for number in range(len(ids), 2 * rows + 1) if (name := f"[unused{number}]") not in ids)
    return [by_id[number] if number in by_id else next(unused) for number in range(max(by_id) + 1)]


def _some(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (" …" if len(listed) > most else "")
