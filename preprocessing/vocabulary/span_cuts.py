"""Cut text into spans: stretches that BERT's tokenisation can process alone.

BERT's normaliser and splitter process one character at a time, except for accents, which Unicode's canonical ordering
moves only within a run of combining marks. Text can therefore be cut next to any white space, and next to any character
that BERT makes a separate word (punctuation, a Chinese character), because these are not combining marks, neither
before nor after normalisation. Encoding the text is the same as encoding its parts in order. The text between two cuts
is a span.

The key of a span is its UTF-8, with the changes that normalisation would make anyway: ASCII letters are lower-cased for
an uncased vocabulary, and ASCII control characters are omitted. Runs of ASCII letters and digits are cut 8 bytes at a
time: all bytes of a machine word are tested at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.vocabulary.vocabulary import bert_normalizer, bert_splitter

SENTENCE_END = 0xFF  # never a byte of UTF-8

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

_SPANS_A_BLOCK = 1 << 12  # so that the keys of a block remain in the processor's cache

# One constant for all 8 bytes of a word. `_FROM_X` added to 7 bits sets a byte's highest bit from the character X on,
# `_AFTER_X` after it.
_HIGHEST, _SEVEN, _ONES, _CASE, _FROM_A, _AFTER_Z, _FROM_0, _AFTER_9 = (
    np.uint64(0x0101010101010101 * byte)
    for byte in (0x80, 0x7F, 1, ord("a") - ord("A"), 0x80 - ord("a"), 0x7F - ord("z"), 0x80 - ord("0"), 0x7F - ord("9"))
)
_FULL = np.uint64(64)  # bits of a word


class Spans(NamedTuple):
    """Consecutive spans of a text. The end of a sentence counts as a span with an empty key."""

    words: NDArray[np.uint64]  # the keys, one behind another: 8 bytes a word, the last one padded with zeros
    ends: NDArray[np.int64]  # [spans + 1], into words; span n: words[ends[n] : ends[n + 1]]
    stops: NDArray[np.int64]  # [spans], the place in the text behind each span


class SpanCutter:
    """Cuts text for one casing."""

    def __init__(self, lowercase: bool) -> None:
        self._meanings = _byte_meanings(lowercase)
        self._cut_out = cut_out_characters()
        self._case = _CASE if lowercase else np.uint64(0)

    def blocks(self, text: NDArray[np.uint8], position: int) -> Iterator[Spans]:
        """Yield the spans of `text`, which `joined` created, from `position` on, in blocks.

        A block is valid until the next one.
        """
        eights = _eights(text)
        words = np.empty(len(text) // 8 + _SPANS_A_BLOCK + 1, np.uint64)
        ends, stops = np.zeros(_SPANS_A_BLOCK + 1, np.int64), np.empty(_SPANS_A_BLOCK, np.int64)
        while position < len(text):
            count = _cut(text, eights, position, self._case, self._meanings, self._cut_out, words, ends, stops)
            yield Spans(words, ends[: count + 1], stops[:count])
            position = int(stops[count - 1]) if count else len(text)


class WordSplitter:
    """Splits spans into BERT's words, with Hugging Face's normaliser and splitter."""

    def __init__(self, lowercase: bool, strip_accents: bool | None = None) -> None:
        self._normalizer = bert_normalizer(lowercase, strip_accents)
        self._splitter = bert_splitter()

    def words(self, span: str) -> list[str]:
        """Return the words of a span of a text, in order. There can be none."""
        if span.isascii():  # the key is already a word
            return [span]
        return [word for word, _ in self._splitter.pre_tokenize_str(self._normalizer.normalize_str(span))]


def joined(sentences: Iterable[str]) -> NDArray[np.uint8]:
    """Return the sentences as one text for `SpanCutter.blocks`."""
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


def _eights(text: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the 8 bytes from each place of the text on, as one number. Zeros follow the text."""
    padded = np.concatenate([text, np.zeros(7, np.uint8)])
    return np.ndarray(text.shape, np.uint64, buffer=padded, strides=(1,))


@compiled
def _cut(
    text: NDArray[np.uint8],
    eights: NDArray[np.uint64],
    position: int | np.int64,
    case: np.uint64,
    meanings: NDArray[np.uint8],
    cut_out: NDArray[np.bool_],
    words: NDArray[np.uint64],
    ends: NDArray[np.int64],
    stops: NDArray[np.int64],
) -> int:
    """Fill `words`, `ends` and `stops` with the next spans, and return their number.

    One turn appends letters and digits, or one other character, to the span's key; `word` is its unfinished end, of
    `bits` bits. One flat loop with its state in registers is more than twice as fast as a function call per span.
    """
    count = end = 0
    word = bits = np.uint64(0)
    while position < len(text) and count < len(stops):
        if bits == _FULL:
            words[end] = word
            end += 1
            word = bits = np.uint64(0)
        part, size, is_end = _letters_and_digits(eights[position], case)
        word |= part << bits
        bits += size
        if bits > _FULL:
            words[end] = word
            end += 1
            bits -= _FULL
            word = part >> (size - bits)
        position += np.int64(size) >> 3
        if not is_end or bits == _FULL:
            continue
        meaning, width = meanings[text[position]], 1
        if meaning == _LEAD:
            meaning, width = _beyond_ascii(text, position, cut_out)
        if meaning > _LEAD:
            word |= np.uint64(meaning) << bits
            bits += np.uint64(8)
            position += 1
            continue
        is_empty = bits == 0 and end == ends[count]
        if meaning == _DROPPED or (meaning == _SPACE and is_empty):
            position += 1
            continue
        if is_empty:
            word = _bytes(text, position, width) if meaning == _ALONE else word
            position += width
        if word:
            words[end] = word
            end += 1
            word = bits = np.uint64(0)
        stops[count] = position
        count += 1
        ends[count] = end
    return count


@compiled
def _letters_and_digits(eight: np.uint64, case: np.uint64) -> tuple[np.uint64, np.uint64, bool]:
    """Return the ASCII letters and digits that 8 bytes begin with, their size in bits, and whether others follow.

    A byte's highest bit marks what it is.
    """
    seven = eight & _SEVEN
    folded = seven | _CASE
    letters = (folded + _FROM_A) & ~(folded + _AFTER_Z) & _HIGHEST
    digits = (seven + _FROM_0) & ~(seven + _AFTER_9)
    others = ((letters | digits) ^ _HIGHEST | eight) & _HIGHEST
    before = ((others & (~others + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)  # all bits before the first other
    size = ((before & _ONES) * _ONES) >> np.uint64(56) << np.uint64(3)
    return (eight | (letters >> np.uint64(2)) & case) & before, size, others != 0


@compiled
def _bytes(text: NDArray[np.uint8], position: int | np.int64, width: int) -> np.uint64:
    word = np.uint64(0)
    for place in range(position + width - 1, position - 1, -1):
        word = word << np.uint64(8) | np.uint64(text[place])
    return word


@compiled
def _beyond_ascii(text: NDArray[np.uint8], position: int | np.int64, cut_out: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the meaning of a character's first byte, and the character's bytes."""
    byte = int(text[position])
    width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    code = byte & (0x7F >> width)
    for place in range(position + 1, position + width):
        code = code << 6 | (int(text[place]) & 0x3F)
    return _ALONE if code < len(cut_out) and cut_out[code] else byte, width
