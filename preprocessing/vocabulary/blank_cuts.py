"""Cut text at single blanks, for tokenizers that process what is between them alone.

Many tokenizers split text so that no token reaches over a blank between two letters: byte-level BPE by the patterns
of GPT-2 and its successors, SentencePiece's models by `▁`, and BERT's and its relatives at white space. The tokens of
`one two` are then those of `one` and those of `two` (or of ` two`, where the blank is part of a token). So text can be
cut there, and each distinct span needs to be encoded only once.

A cut is made at a blank only between two plain characters: letters, digits, punctuation and symbols that the
normaliser turns into no white space and no combining mark at their ends. Next to any other character the text is left
in one piece, since a normaliser or splitter can join it with the blank.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.vocabulary.span_cuts import SENTENCE_END, Spans
from preprocessing.vocabulary.tokenizer_json import TokenizerJson, parts_of

Blank = Literal["kept", "dropped"]  # whether the blank before a span is part of it

_SPANS_A_BLOCK = 1 << 12  # so that the keys of a block remain in the processor's cache
_CODE_POINTS = 0x30000  # characters beyond are not plain
_PLAIN_KINDS = "LNPS"  # first letters of Unicode's categories
# Characters that join with a blank before or after them, whatever their category: `▁` is the blank of SentencePiece,
# U+FFFD is removed by BERT's normaliser, and the others extend a grapheme or are prepended to one.
_NOT_PLAIN = "\u2581\ufffd\uff9e\uff9f\u0d4e"
_ASTRAL = range(0x10000, 0x20000)  # not looked at one by one

# What splits text at a blank: the types of splitters, and the patterns of GPT-4, Llama 3 and Qwen.
_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {_GPT4, _GPT4.replace(r"\p{N}{1,3}", r"\p{N}")}
_DROPPING = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer"}
_HARMLESS = {"Punctuation", "Digits"}
_NORMALIZERS = {"Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "BertNormalizer", "Nmt", "Precompiled"}
_COLLAPSED_BLANKS = {" {2,}", "  +", r"\ {2,}"}  # patterns of two and more blanks


def separation(source: TokenizerJson) -> Blank | None:
    """Return how the tokenizer's text can be cut at single blanks, or None if it cannot."""
    splitters = parts_of(source.fields.get("pre_tokenizer"), "pretokenizers")
    normalizers = parts_of(source.fields.get("normalizer"), "normalizers")
    blank = _of_splitters(splitters)
    is_sound = all(_acts_alone(one, blank) for one in normalizers)
    added = [token for token in source.fields["added_tokens"] if not token.get("special")]
    is_matched_raw = not (normalizers and any(token.get("normalized") for token in added))
    has_dropout = bool((source.fields.get("model") or {}).get("dropout"))
    return blank if is_sound and is_matched_raw and not has_dropout else None


def _of_splitters(splitters: list[dict[str, Any]]) -> Blank | None:
    kinds = [one.get("type") for one in splitters]
    last = splitters[-1] if splitters else {}
    if kinds == ["ByteLevel"] and last.get("use_regex", True):
        return "kept"
    if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True) and not last.get("add_prefix_space"):
        first = splitters[0]
        is_known = (first.get("pattern") or {}).get("Regex") in _PATTERNS and not first.get("invert")
        return "kept" if is_known and first.get("behavior") == "Isolated" else None
    if kinds[-1:] == ["Metaspace"] and last.get("split", True):
        scheme = last.get("prepend_scheme") or ("always" if last.get("add_prefix_space", True) else "never")
        if kinds == ["Metaspace"]:
            return "kept" if scheme == "never" else "dropped"
        return "dropped" if kinds == ["WhitespaceSplit", "Metaspace"] and scheme == "always" else None
    return "dropped" if set(kinds) <= _DROPPING | _HARMLESS and set(kinds) & _DROPPING else None


def _acts_alone(normalizer: dict[str, Any], blank: Blank | None) -> bool:
    """Return whether a normaliser changes the text on both sides of a single blank independently, and no such blank."""
    kind = normalizer.get("type")
    if kind == "Strip":
        return blank == "dropped"
    if kind == "Replace":
        pattern, content = normalizer.get("pattern") or {}, str(normalizer.get("content"))
        if "Regex" in pattern:
            return pattern["Regex"] in _COLLAPSED_BLANKS and content in (" ", "▁")
        return not any(character.isspace() for character in str(pattern.get("String", " ")) + content)
    return kind in _NORMALIZERS


class BlankCutter:
    """Cuts text at single blanks between plain characters, or if `blank` is None, nowhere.

    The key of a span is its UTF-8.
    """

    def __init__(self, source: TokenizerJson, blank: Blank | None) -> None:
        self._plain = plain_characters(source) if blank else np.zeros(_CODE_POINTS, np.bool_)
        self._kept = blank != "dropped"

    def blocks(self, text: NDArray[np.uint8], position: int) -> Iterator[Spans]:
        """Yield the spans of `text`, which `joined` created, from `position` on, in blocks.

        A block is valid until the next one.
        """
        words = np.empty(len(text) // 8 + _SPANS_A_BLOCK + 1, np.uint64)
        ends, stops = np.zeros(_SPANS_A_BLOCK + 1, np.int64), np.empty(_SPANS_A_BLOCK, np.int64)
        while position < len(text):
            count = _cut(text, position, self._kept, self._plain, words, ends, stops)
            yield Spans(words, ends[: count + 1], stops[:count])
            position = int(stops[count - 1])


@lru_cache(4)
def plain_characters(source: TokenizerJson) -> NDArray[np.bool_]:
    """Return for each code point whether a blank beside it can be cut."""
    normalizer = source.tokenizer().normalizer
    plain = np.zeros(_CODE_POINTS, np.bool_)
    for point in range(_CODE_POINTS):
        character = chr(point)
        if point in _ASTRAL or character in _NOT_PLAIN or unicodedata.category(character)[0] not in _PLAIN_KINDS:
            continue
        left = normalizer.normalize_str(character) if normalizer else character
        plain[point] = bool(left) and not _joins(left[0]) and not _joins(left[-1])
    return plain


def _joins(character: str) -> bool:
    return character.isspace() or character in _NOT_PLAIN or unicodedata.category(character)[0] in "MCZ"


@compiled
def _cut(
    text: NDArray[np.uint8],
    position: int | np.int64,
    kept: bool,
    plain: NDArray[np.bool_],
    words: NDArray[np.uint64],
    ends: NDArray[np.int64],
    stops: NDArray[np.int64],
) -> int:
    """Fill `words`, `ends` and `stops` with the next spans, and return their number."""
    count = end = 0
    while position < len(text) and count < len(stops):
        if text[position] == SENTENCE_END:
            position += 1
        else:
            start = position
            if not kept and text[position] == 0x20 and position > 0 and _is_cut(text, position, plain):
                start = position = position + 1
            place = position + 1
            while text[place] != SENTENCE_END and not (text[place] == 0x20 and _is_cut(text, place, plain)):
                place += 1
            for first in range(start, place, 8):
                word = np.uint64(0)
                for byte in range(min(8, place - first)):
                    word |= np.uint64(text[first + byte]) << np.uint64(8 * byte)
                words[end] = word
                end += 1
            position = place
        count += 1
        ends[count] = end
        stops[count - 1] = position
    return count


@compiled
def _is_cut(text: NDArray[np.uint8], place: int | np.int64, plain: NDArray[np.bool_]) -> bool:
    """Return whether the characters on both sides of the blank at `place`, which has such sides, are plain."""
    if place == 0 or not plain[_character_at(text, place + 1)]:
        return False
    before = place - 1
    while before > 0 and text[before] & 0xC0 == 0x80:
        before -= 1
    return bool(plain[_character_at(text, before)])


@compiled
def _character_at(text: NDArray[np.uint8], place: int | np.int64) -> int | np.int64:
    """Return the code point at `place`; 0, which is not plain, at the end of a sentence and beyond the table."""
    first = np.int64(text[place])
    if first < 0x80:
        return first
    if first == SENTENCE_END:
        return 0
    length = 2 + (first >= 0xE0) + (first >= 0xF0)
    if place + length > len(text):
        return 0  # a row can cut a character off
    point = first & (0x7F >> length)
    for byte in range(1, length):
        point = point << 6 | np.int64(text[place + byte]) & 0x3F
    return point if point < _CODE_POINTS else 0
