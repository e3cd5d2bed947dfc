"""A Hugging Face tokenizer.json of any kind, made ready for the rows `[CLS] A [SEP] B [SEP]`.

Its model, normaliser and splitter stay as they are, so text gets the ids that `tokenizers` gives it. Its special tokens
are found by name. What is added is what rows need: the template of a row, and the special tokens that it lacks, after
its last id. Truncation and padding are removed. The edits are made in the JSON itself, so the same file always gives
the same bytes, and a file that was made ready stays as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from tokenizers import Tokenizer

from configs.errors import UserError

PAD: Final = "[PAD]"
UNK: Final = "[UNK]"
CLS: Final = "[CLS]"
SEP: Final = "[SEP]"
MASK: Final = "[MASK]"
# BERT's special tokens, and those that other models have in their place, in order of preference.
_NAMES = {
    PAD: (PAD, "<pad>", "<|pad|>"),
    UNK: (UNK, "<unk>", "<|unk|>"),
    CLS: (CLS, "<cls>", "<s>"),
    SEP: (SEP, "<sep>", "</s>", "<eos>"),
    MASK: (MASK, "<mask>", "<|mask|>"),
}
_MOST_GAPS = 1 << 16  # ids without a token: more of them are no vocabulary
_FIX = "use a tokenizer.json that Hugging Face `tokenizers` reads"


@dataclass(frozen=True)
class TokenizerJson:
    """A tokenizer.json that was made ready, as text, and the special tokens that it lacked before."""

    text: str
    added: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def parse(cls, content: bytes, place: str) -> TokenizerJson:
        """Make the bytes of a tokenizer.json ready. Raises `UserError` if `tokenizers` cannot read them."""
        fields = parse_json(content, place)
        tokenizer = _loaded(content.decode(), place)
        names = _names_of(fields, tokenizer)
        size = _size(tokenizer, place)
        missing = tuple(role for role in _NAMES if role not in names)
        known = tokenizer.get_vocab(with_added_tokens=True)
        ids = {name: known[name] for name in names.values()}
        ids |= {role: size + number for number, role in enumerate(missing)}
        names |= {role: role for role in missing}
        ready = fields | {"truncation": None, "padding": None}
        ready["added_tokens"] = _added_tokens(fields, ids, names)
        ready["post_processor"] = _template(names[CLS], names[SEP], ids, is_byte_level=_is_byte_level(fields))
        text = json.dumps(ready, ensure_ascii=False, indent=2) + "\n"
        _loaded(text, place)
        return cls(text, missing)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The JSON object."""
        fields: dict[str, Any] = json.loads(self.text)
        return fields

    @cached_property
    def names(self) -> dict[str, str]:
        """The name of each of BERT's special tokens in this tokenizer."""
        return _names_of(self.fields, self.tokenizer())

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The tokens in the order of their ids, with `[unusedN]` for ids without a token."""
        tokenizer = self.tokenizer()
        known = [tokenizer.id_to_token(number) for number in range(_size(tokenizer, ""))]
        return tuple(f"[unused{number}]" if piece is None else piece for number, piece in enumerate(known))

    @cached_property
    def special(self) -> frozenset[str]:
        """The tokens that text never yields, except the one for unknown text."""
        return frozenset(token["content"] for token in self.fields["added_tokens"] if token.get("special"))

    @property
    def is_byte_level(self) -> bool:
        """Whether its tokens are made of bytes, so that no text is unknown."""
        return _is_byte_level(self.fields)

    def tokenizer(self, *, of_words: bool = False) -> Tokenizer:
        """Return the tokenizer, which treats a literal special token in a text as such a token.

        With `of_words`, a byte-level one gives each word of a list the blank that it has in a text.
        """
        if not (of_words and self.is_byte_level):
            return Tokenizer.from_str(self.text)
        fields: dict[str, Any] = json.loads(self.text)
        for part in parts_of(fields["pre_tokenizer"], "pretokenizers"):
            if part["type"] == "ByteLevel":
                part["add_prefix_space"] = True
        return Tokenizer.from_str(json.dumps(fields))


def parse_json(content: bytes, place: str) -> dict[str, Any]:
    """Return the object in the bytes of a tokenizer.json. Raises `UserError` if there is none."""
    fix = "set data.vocabulary.file to a vocab.txt or tokenizer.json, or leave it unset to train one"
    try:
        fields = json.loads(content)
    except ValueError as error:
        raise UserError(f"not JSON: {error}", place=place, fix=fix) from error
    if not isinstance(fields, dict):
        raise UserError("not a tokenizer: the file is not a JSON object", place=place, fix=fix)
    return fields


def parts_of(part: object, key: str) -> list[dict[str, Any]]:
    """Return a normaliser or splitter as a flat list of its parts; `key` names the parts of a sequence."""
    if not isinstance(part, dict):
        return []
    if part.get("type") == "Sequence":
        return [inner for one in part.get(key) or () for inner in parts_of(one, key)]
    return [part]


def _loaded(text: str, place: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # what `tokenizers` raises for an invalid file has no class of its own
        raise UserError(f"not a tokenizer: {error}", place=place, fix=_FIX) from error


def _size(tokenizer: Tokenizer, place: str) -> int:
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    size = 1 + max(ids, default=-1)
    if not size or size - len(ids) > _MOST_GAPS:
        raise UserError(f"the vocabulary has {size - len(ids):,} ids without a token", place=place, fix=_FIX)
    return size


def _names_of(fields: dict[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """Return the special tokens that the tokenizer has, by BERT's names. Its model states the one for unknown text."""
    model = fields.get("model") or {}
    unknown = model.get("unk_token")
    if model.get("type") == "Unigram" and model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    wanted = _NAMES | {UNK: (unknown, *_NAMES[UNK]) if unknown else _NAMES[UNK]}
    found = {
        role: [name for name in names if tokenizer.token_to_id(name) is not None] for role, names in wanted.items()
    }
    return {role: names[0] for role, names in found.items() if names}


def _added_tokens(fields: dict[str, Any], ids: dict[str, int], names: dict[str, str]) -> list[dict[str, Any]]:
    """Return the added tokens with all special tokens of rows, in the order of their ids."""
    added = {token["content"]: token for token in fields.get("added_tokens") or ()}
    takes_blank = _is_byte_level(fields)  # a masked word had the blank before it, and so does a literal mask
    for name, number in ids.items():
        if name in added:
            added[name] = added[name] | {"special": True}
        else:
            lstrip = takes_blank and name == names[MASK]
            settings = {"single_word": False, "lstrip": lstrip, "rstrip": False, "normalized": False, "special": True}
            added[name] = {"id": number, "content": name} | settings
    return sorted(added.values(), key=lambda token: int(token["id"]))


def _template(cls: str, sep: str, ids: dict[str, int], *, is_byte_level: bool) -> dict[str, Any]:
    def special(name: str, segment: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [special(cls, 0), text("A", 0), special(sep, 0)]
    template = {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), special(sep, 1)],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (cls, sep)},
    }
    if not is_byte_level:
        return template
    offsets = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {"type": "Sequence", "processors": [offsets, template]}


def _is_byte_level(fields: dict[str, Any]) -> bool:
    parts = [
        *parts_of(fields.get("pre_tokenizer"), "pretokenizers"),
        *parts_of(fields.get("normalizer"), "normalizers"),
    ]
    return any(part.get("type") == "ByteLevel" for part in parts)
