"""How the tokenizer of a Hugging Face folder splits text, and its casing.

A tokenizer of BERT's classes with other settings than BERT's gives other ids than ours for the same text, without an
error. It is refused. One of another class is what its tokenizer.json says, and is refused without that file. The
casing in tokenizer_config.json takes precedence over that in tokenizer.json, as in transformers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from preprocessing.vocabulary import SPECIAL_TOKENS, check_tokenizer
from pretrain.huggingface.json_files import as_object, read_json_if_there

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
# The tokenizers of these models split text like BertTokenizer.
SAME_AS_BERT = ("Bert", "DistilBert", "Electra", "MobileBert", "SqueezeBert", "ConvBert")
_BERT_CLASSES = {f"{name}Tokenizer{suffix}" for name in SAME_AS_BERT for suffix in ("", "Fast")}
_GENERIC_CLASSES = {"PreTrainedTokenizerFast", "TokenizersBackend"}  # what tokenizer.json says
# Classes of transformers 5 that split text in Python, whatever tokenizer.json says.
_PYTHON_CLASSES = {
    f"{name}Tokenizer"
    for name in (
        *("Bartpho", "BertJapanese", "Bertweet", "BioGpt", "BlenderbotSmall", "ByT5", "CTRL", "Canine", "Clvp", "Cpm"),
        *("CpmAnt", "Dia", "Esm", "FSMT", "Flaubert", "GPTNeoXJapanese", "Mgpstr", "MyT5", "PLBart", "Perceiver"),
        *("Phobert", "ProphetNet", "Rag", "RoCBert", "Tapas", "Vits", "Wav2Vec2CTC", "Wav2Vec2PhonemeCTC", "XLM"),
    )
}
# Settings that change the ids, with their values for BERT, and the default where they are left out.
_FIXED = {
    "tokenize_chinese_chars": True,
    "do_basic_tokenize": True,
    "word_tokenizer_type": "basic",
    "subword_tokenizer_type": "wordpiece",
}
_SPECIAL = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_TOKENS, strict=True))
_FIX = "give a model with BERT's tokenizer, or with the tokenizer.json of another class"
_FIX_NAMES = "give a model with the special tokens of BERT or of RoBERTa"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Casing:
    """Whether text is lower-cased, and stripped of accents; None: not stated."""

    lowercase: bool | None = None
    strip_accents: bool | None = None


UNSTATED = Casing()


def is_other_tokenizer(folder: Path) -> bool:
    """Return whether the folder has a tokenizer.json that its class follows and that is not BERT's."""
    tokenizer = read_json_if_there(folder / TOKENIZER)
    named = read_json_if_there(folder / TOKENIZER_CONFIG).get("tokenizer_class")
    named = named or read_json_if_there(folder / CONFIG).get("tokenizer_class")
    if not tokenizer or named in _BERT_CLASSES | _PYTHON_CLASSES:
        return False
    try:
        check_tokenizer(tokenizer, folder / TOKENIZER)
    except UserError:
        return True
    return named not in (None, *_GENERIC_CLASSES)


def check_special_tokens(folder: Path, names: dict[str, str]) -> None:
    """Raise `UserError` if tokenizer_config.json names other special tokens than those found in tokenizer.json."""
    settings = read_json_if_there(folder / TOKENIZER_CONFIG)
    for key, special in _SPECIAL.items():
        value = settings.get(key)
        value = value.get("content") if isinstance(value, dict) else value
        if value not in (None, names[special]):
            cause = f"the tokenizer has {key} {value!r}, where {names[special]!r} is expected"
            raise UserError(cause, place=str(folder / TOKENIZER_CONFIG), fix=_FIX_NAMES)


def read_casing(folder: Path, unstated: Casing) -> Casing:
    """Return the casing of a folder's tokenizer; `unstated` where its files do not state one.

    Raises `UserError` if the tokenizer is not BERT's.
    """
    settings = read_json_if_there(folder / TOKENIZER_CONFIG)
    tokenizer = read_json_if_there(folder / TOKENIZER)
    named = settings.get("tokenizer_class") or read_json_if_there(folder / CONFIG).get("tokenizer_class")
    name = None if named is None else str(named)
    _check_class(name, folder, has_json=bool(tokenizer))
    _check_settings(settings, folder / TOKENIZER_CONFIG)
    if tokenizer:
        check_tokenizer(tokenizer, folder / TOKENIZER)
    normalizer = as_object(tokenizer.get("normalizer"))
    of_json = Casing(*(_switch(normalizer, name, folder / TOKENIZER) for name in ("lowercase", "strip_accents")))
    names = ("do_lower_case", "strip_accents")
    of_config = Casing(*(_switch(settings, name, folder / TOKENIZER_CONFIG) for name in names))
    stated = [of_json] if name in _GENERIC_CLASSES else [of_config, of_json]
    if of_json.lowercase is not None and of_config.lowercase not in (None, of_json.lowercase):
        followed = TOKENIZER if name in _GENERIC_CLASSES else TOKENIZER_CONFIG
        logger.warning("%s: the two tokenizer files state different casings; %s is followed", folder, followed)
    return next((casing for casing in stated if casing.lowercase is not None), unstated)


def _switch(settings: dict[str, Any], name: str, path: Path) -> bool | None:
    value = settings.get(name)
    if value is not None and not isinstance(value, bool):
        raise UserError(f"{name} is {str(value)[:80]}, not true or false", place=str(path), fix="download it again")
    return value


def _check_class(name: str | None, folder: Path, *, has_json: bool) -> None:
    if name in _GENERIC_CLASSES and not has_json:
        raise UserError(f"no {TOKENIZER}, which defines a {name}", place=str(folder), fix="download it")
    if name is not None and name not in _BERT_CLASSES | _GENERIC_CLASSES:
        raise UserError(f"the tokenizer is a {name}", place=str(folder), fix=_FIX)


def _check_settings(settings: dict[str, Any], path: Path) -> None:
    for name, expected in (_FIXED | _SPECIAL).items():
        value = settings.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if value is not None and value != expected:
            raise UserError(
                f"the tokenizer has {name} {value!r}, but BERT's has {expected!r}", place=str(path), fix=_FIX
            )
