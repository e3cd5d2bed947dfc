"""The span table, which cuts text into spans and numbers each distinct span: the fast half of exact WordPiece encoding.

BERT's normaliser and splitter process one character at a time, except for accents, which Unicode's canonical ordering
moves only within a run of combining marks. Text can therefore be cut next to any white space, and next to any character
that BERT makes a separate word (punctuation, a Chinese character), because these are not combining marks, neither
before nor after normalisation. Encoding the text is the same as encoding its parts in order. The text between two cuts
is a span. Spans repeat, so each needs to be encoded only once: a loop over the UTF-8 bytes looks them up in a hash
table.

The key of a span contains the changes that normalisation would make anyway: ASCII letters are lower-cased for an
uncased vocabulary, and ASCII control characters are omitted. Keys are compared byte by byte, so different spans never
share a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.vocabulary.vocabulary import bert_normalizer, bert_splitter

SENTENCE_END = 0xFF  # never a byte of UTF-8
END_OF_SENTENCE = -1  # in a stream of span numbers

# The classes of bytes in the scan. Any other value is a byte to append to the key.
_DROPPED, _SPACE, _ALONE, _END, _LEAD = range(5)

# Characters beyond ASCII that form separate spans: Chinese characters as BERT defines them, and common white space and
# punctuation. The list need not be complete, because a span is normalised and split again. It must not contain any
# other kind of character.
_CHINESE = [(0x3400, 0x4DB5), (0x4E00, 0x9FD5), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x20000, 0x2A6D6)]
_SPACES = [(0xA0, 0xA0), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)]
_PUNCTUATION = [
    *[(0xA1, 0xA1), (0xA7, 0xA7), (0xAB, 0xAB), (0xB6, 0xB7), (0xBB, 0xBB), (0xBF, 0xBF)],
    *[(0x2010, 0x2027), (0x2030, 0x2043), (0x2045, 0x2051), (0x2053, 0x205E)],
    *[(0x3001, 0x3003), (0x3008, 0x3011), (0x3014, 0x301F)],
    *[(0xFF01, 0xFF03), (0xFF05, 0xFF0A), (0xFF0C, 0xFF0F), (0xFF1A, 0xFF1B), (0xFF1F, 0xFF20), (0xFF3B, 0xFF3D)],
    *[(0xFF3F, 0xFF3F), (0xFF5B, 0xFF5B), (0xFF5D, 0xFF5D), (0xFF5F, 0xFF65)],
]
_CODE_POINTS = 0x30000  # no character beyond this is cut out

_MOST_SPANS = 1 << 20
_KEY_WORDS = 1 << 22


class SpanTable:
    """The distinct spans seen so far, numbered from 0. The table is bounded: its owner clears it when it is full."""

    def __init__(self, lowercase: bool, most_spans: int = _MOST_SPANS, key_words: int = _KEY_WORDS) -> None:
        self.most_spans = most_spans
        self._meanings = _byte_meanings(lowercase)
        self._cut_out = cut_out_characters()
        self._slots = np.zeros(1 << (2 * most_spans - 1).bit_length(), np.uint64)
        self._keys = np.empty(key_words, np.uint64)  # 8 bytes each; the last one of a span is padded with zeros
        self._key_ends = np.zeros(most_spans + 1, np.int64)  # span n: keys[key_ends[n] : key_ends[n + 1]]
        self._spans = 0

    def __len__(self) -> int:
        return self._spans

    def has_room(self, text_bytes: int) -> bool:
        """Return whether a text of this size, or at least a part of it, can be scanned without `clear`."""
        return self._spans < self.most_spans and self._key_words(text_bytes) <= len(self._keys)

    def clear(self, text_bytes: int) -> None:
        """Remove all spans, and make room for a text of this size."""
        self._slots.fill(0)
        self._spans = 0
        if self._key_words(text_bytes) > len(self._keys):
            self._keys = np.empty(self._key_words(text_bytes), np.uint64)

    def scan(self, text: NDArray[np.uint8], position: int) -> tuple[NDArray[np.int32], int]:
        """Number the spans of `text`, which `joined` created, from `position` on.

        Returns the numbers, with END_OF_SENTENCE after each sentence, and the position reached, which is the end of the
        text unless the table is full.
        """
        assert self.has_room(len(text) - position)
        stream = np.empty(len(text) - position, np.int32)
        position, count, self._spans = _scan(
            text, position, self._meanings, self._cut_out, self._slots, self._keys, self._key_ends, self._spans, stream
        )
        return stream[:count], position

    def texts(self, first: int = 0) -> list[str]:
        """Return the spans numbered from `first` on."""
        ends = (8 * self._key_ends[first : self._spans + 1]).tolist()
        keys = self._keys.view(np.uint8)[ends[0] : ends[-1]].tobytes()
        return [keys[start - ends[0] : end - ends[0]].rstrip(b"\0").decode() for start, end in pairwise(ends)]

    def _key_words(self, text_bytes: int) -> int:
        """Return the maximum number of key words after a scan: one per 8 bytes, and one partly filled one per span."""
        return int(self._key_ends[self._spans]) + text_bytes // 8 + self.most_spans - self._spans


class WordSplitter:
    """Splits spans into BERT's words, with Hugging Face's normaliser and splitter."""

    def __init__(self, lowercase: bool, strip_accents: bool | None = None) -> None:
        self._normalizer = bert_normalizer(lowercase, strip_accents)
        self._splitter = bert_splitter()

    def words(self, span: str) -> list[str]:
        """Return the words of a span of a `SpanTable`, in order. There can be none."""
        if span.isascii():  # the key is already a word
            return [span]
        return [word for word, _ in self._splitter.pre_tokenize_str(self._normalizer.normalize_str(span))]


def joined(sentences: Iterable[str]) -> NDArray[np.uint8]:
    """Return the sentences as one text for `SpanTable.scan`."""
    encoded = [sentence.encode() for sentence in sentences]
    return np.frombuffer(bytes([SENTENCE_END]).join([*encoded, b""]), np.uint8)


def cut_out_characters() -> NDArray[np.bool_]:
    """Return for each code point beyond ASCII whether it forms a separate span."""
    cut_out = np.zeros(_CODE_POINTS, np.bool_)
    for first, last in (*_CHINESE, *_SPACES, *_PUNCTUATION):
        cut_out[first : last + 1] = True
    return cut_out


def _byte_meanings(lowercase: bool) -> NDArray[np.uint8]:
    meanings = np.empty(256, np.uint8)
    for byte in range(128):
        character = chr(byte)
        if character in " \t\n\r":
            meanings[byte] = _SPACE
        elif not character.isprintable():
            meanings[byte] = _DROPPED
        elif character.isalnum():
            meanings[byte] = ord(character.lower() if lowercase else character)
        else:
            meanings[byte] = _ALONE
    meanings[0x80:0xC0] = np.arange(0x80, 0xC0)  # continuation bytes of a character whose first byte is in a key
    meanings[0xC0:] = _LEAD
    meanings[SENTENCE_END] = _END
    return meanings


@compiled
def _scan(
    text: NDArray[np.uint8],
    position: int,
    meanings: NDArray[np.uint8],
    cut_out: NDArray[np.bool_],
    slots: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    key_ends: NDArray[np.int64],
    spans: int,
    stream: NDArray[np.int32],
) -> tuple[int, int, int]:
    """Scan one character per turn. Returns the position reached, the stream's length, and the number of spans.

    A span's key is appended to the last one; `word` is its unfinished end. One flat loop with its state in registers is
    more than twice as fast as a function call per span.
    """
    count = 0
    end = key_ends[spans]
    word = shift = np.uint64(0)
    while position < len(text) and spans < len(key_ends) - 1:
        byte = text[position]
        meaning = meanings[byte]
        width = 1
        if meaning == _LEAD:
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            meaning = _ALONE if _is_cut_out(text, position, width, cut_out) else byte
        if meaning > _LEAD:
            if shift == 64:
                keys[end] = word
                end += 1
                word = shift = np.uint64(0)
            word |= np.uint64(meaning) << shift
            shift += np.uint64(8)
            position += 1
            continue
        if meaning == _DROPPED:
            position += 1
            continue
        if shift == 0:  # the span is still empty
            position += width
            if meaning != _ALONE:
                if meaning == _END:
                    stream[count] = END_OF_SENTENCE
                    count += 1
                continue
            for place in range(1, width + 1):
                word = word << np.uint64(8) | np.uint64(text[position - place])
        keys[end] = word
        number = _find_or_enter(slots, keys, key_ends, spans, end + 1)
        spans += number == spans
        stream[count] = number
        count += 1
        end = key_ends[spans]
        word = shift = np.uint64(0)
    return position, count, spans


@compiled
def _is_cut_out(text: NDArray[np.uint8], position: int, width: int, cut_out: NDArray[np.bool_]) -> bool:
    code = int(text[position]) & (0x7F >> width)
    for place in range(position + 1, position + width):
        code = code << 6 | (int(text[place]) & 0x3F)
    return code < len(cut_out) and cut_out[code]


@compiled
def _find_or_enter(
    slots: NDArray[np.uint64], keys: NDArray[np.uint64], key_ends: NDArray[np.int64], spans: int, end: int
) -> int:
    """Return the number of the span whose key is `keys[key_ends[spans]:end]`: that of an equal span, or `spans`.

    The hash table uses open addressing. A slot is 0 when empty; otherwise its upper 32 bits are those of a hash and its
    lower 32 bits are a span's number plus 1.
    """
    start = key_ends[spans]
    hashed = hash_of_key(keys, start, end)
    last = np.uint64(len(slots) - 1)
    slot = (hashed * np.uint64(0xD6E8FEB86659FD93)) >> np.uint64(32) & last  # the product mixes all bits of the hash
    while slots[slot] != 0:
        if (slots[slot] ^ hashed) >> np.uint64(32) == 0:
            number = int(np.int64(slots[slot] & np.uint64(0xFFFFFFFF))) - 1
            if _same(keys, key_ends[number], key_ends[number + 1], start, end):
                return number
        slot = (slot + np.uint64(1)) & last
    slots[slot] = (hashed >> np.uint64(32) << np.uint64(32)) | np.uint64(spans + 1)
    key_ends[spans + 1] = end
    return spans


@compiled
def hash_of_key(keys: NDArray[np.uint64], start: int, end: int) -> np.uint64:
    """Return a hash of `keys[start:end]`. It only speeds up the search: keys with equal hashes are compared."""
    hashed = np.uint64(0)
    for place in range(start, end):
        hashed = (hashed ^ keys[place]) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(32)
    return hashed


@compiled
def _same(keys: NDArray[np.uint64], start: int, end: int, other_start: int, other_end: int) -> bool:
    if end - start != other_end - other_start:
        return False
    for offset in range(end - start):  # noqa: SIM110 - numba does not support all()
        if keys[start + offset] != keys[other_start + offset]:
            return False
    return True
