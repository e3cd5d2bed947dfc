"""The span table numbers each distinct span of a text: the fast half of exact WordPiece encoding.

Spans repeat, so each needs to be encoded only once. Keys are compared byte by byte, so different spans never share a
number.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.vocabulary.span_cuts import SpanCutter, Spans

END_OF_SENTENCE = -1  # in a stream of span numbers

_MOST_SPANS = 1 << 20
_KEY_WORDS = 1 << 22
_FEWEST_SLOTS = 1 << 14  # of the hash table, which grows: a small one remains in the processor's cache


class Cutter(Protocol):
    """Cuts text into spans."""

    def blocks(self, text: NDArray[np.uint8], position: int) -> Iterator[Spans]:
        """Yield the spans of `text`, which `joined` created, from `position` on, in blocks."""


class SpanTable:
    """The distinct spans seen so far, numbered from 0. The table is bounded: its owner clears it when it is full."""

    def __init__(
        self,
        lowercase: bool,
        most_spans: int = _MOST_SPANS,
        key_words: int = _KEY_WORDS,
        cutter: Cutter | None = None,
    ) -> None:
        self.most_spans = most_spans
        self._cutter: Cutter = cutter or SpanCutter(lowercase)
        self._slots = np.zeros((_FEWEST_SLOTS, 2), np.uint64)
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
        count = 0
        for spans in self._cutter.blocks(text, position):
            self._grow(self._spans + len(spans.stops))
            numbered, self._spans = _number(
                spans.words, spans.ends, self._slots, self._keys, self._key_ends, self._spans, stream[count:]
            )
            count += numbered
            position = int(spans.stops[numbered - 1]) if numbered else position
            if numbered < len(spans.stops):
                return stream[:count], position
        return stream[:count], len(text)

    def keys(self, first: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the keys of the spans numbered from `first` on as bytes, and their offsets; zeros pad each key."""
        ends = 8 * self._key_ends[first : self._spans + 1]
        return self._keys.view(np.uint8)[ends[0] : ends[-1]], ends - ends[0]

    def texts(self, first: int = 0) -> list[str]:
        """Return the spans numbered from `first` on."""
        keys, ends = self.keys(first)
        content = keys.tobytes()
        return [content[start:end].rstrip(b"\0").decode() for start, end in pairwise(ends.tolist())]

    def _key_words(self, text_bytes: int) -> int:
        """Return the maximum number of key words after a scan: one per 8 bytes, and one partly filled one per span."""
        return int(self._key_ends[self._spans]) + text_bytes // 8 + self.most_spans - self._spans

    def _grow(self, spans: int) -> None:
        """Keep at least half of the slots empty with this number of spans."""
        if 2 * min(spans, self.most_spans) > len(self._slots):
            self._slots = np.zeros((1 << (2 * spans).bit_length(), 2), np.uint64)
            _enter_again(self._slots, self._keys, self._key_ends, self._spans)


@compiled
def _number(
    words: NDArray[np.uint64],
    ends: NDArray[np.int64],
    slots: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    key_ends: NDArray[np.int64],
    spans: int,
    stream: NDArray[np.int32],
) -> tuple[int, int]:
    """Number the spans of a block until the table is full. Returns how many are numbered, and the table's spans.

    The hash table uses open addressing. A slot holds the first word of a span's key, and a number: the key's length in
    words, and the span's number. It is 0 when the slot is empty. So most searches read nothing but one slot.
    Keys of one word are handled without calls of functions that take arrays, which are slow.
    """
    for nth in range(len(ends) - 1):
        start, end = ends[nth], ends[nth + 1]
        if start == end:
            stream[nth] = END_OF_SENTENCE
            continue
        hashed = _mixed(words[start]) if end == start + 1 else hash_of_key(words, start, end)
        slot = _slot(hashed, len(slots))
        length = np.uint64(end - start) << np.uint64(32)
        while True:
            number = slots[slot, 1]
            if number == np.uint64(0):
                if spans == len(key_ends) - 1:
                    return nth, spans
                number = np.uint64(spans)
                slots[slot, 0], slots[slot, 1] = words[start], length | number
                for place in range(start, end):
                    keys[key_ends[spans] + place - start] = words[place]
                key_ends[spans + 1] = key_ends[spans] + end - start
                spans += 1
                break
            number ^= length
            is_alike = slots[slot, 0] == words[start] and number >> np.uint64(32) == np.uint64(0)
            if is_alike and (end == start + 1 or _same(keys, key_ends[np.int64(number)], words, start, end)):
                break
            slot = (slot + 1) & (len(slots) - 1)
        stream[nth] = np.int32(number)
    return len(ends) - 1, spans


@compiled
def _enter_again(slots: NDArray[np.uint64], keys: NDArray[np.uint64], key_ends: NDArray[np.int64], spans: int) -> None:
    """Enter all spans into an empty hash table."""
    for number in range(spans):
        start, end = key_ends[number], key_ends[number + 1]
        slot = _slot(hash_of_key(keys, start, end), len(slots))
        while slots[slot, 1] != 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot, 0] = keys[start]
        slots[slot, 1] = np.uint64(end - start) << np.uint64(32) | np.uint64(number)


@compiled
def hash_of_key(keys: NDArray[np.uint64], start: int, end: int) -> np.uint64:
    """Return a hash of `keys[start:end]`. It only speeds up the search: keys with equal hashes are compared."""
    hashed = _mixed(keys[start])
    for place in range(start + 1, end):
        hashed = _mixed(hashed ^ keys[place])
    return hashed


@compiled
def _mixed(word: np.uint64) -> np.uint64:
    product = word * np.uint64(0x9E3779B97F4A7C15)
    return product ^ product >> np.uint64(32)


@compiled
def _slot(hashed: np.uint64, slots: int) -> np.int64:
    """Return where to search for a key: by the upper bits of its hash, which depend on all bits of the key."""
    return np.int64(hashed >> np.uint64(32)) * slots >> 32


@compiled
def _same(keys: NDArray[np.uint64], key: int, words: NDArray[np.uint64], start: int, end: int) -> bool:
    """Compare a key with an equally long one whose first word is the same."""
    for place in range(start + 1, end):  # noqa: SIM110 - numba does not support all()
        if keys[key + place - start] != words[place]:
            return False
    return True
