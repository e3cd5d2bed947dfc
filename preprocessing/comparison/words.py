"""The words of a text, for comparisons: without case and punctuation, and the same in every script.

In scripts without blanks between words, each character is a word, because the text between two blanks is a clause.
"""

from __future__ import annotations

import re
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from preprocessing.vocabulary import CHINESE_CHARACTERS, UNSPACED_SCRIPTS

_UNSPACED = f"\u3040-\u30ff{CHINESE_CHARACTERS}{UNSPACED_SCRIPTS}"  # with kana
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with well-mixed bits

Hashes = NDArray[np.uint64]


def word_hashes(text: str) -> Hashes:
    """Return a 32-bit hash for each word. A text without words is one word."""
    words = _WORD.findall(text.lower()) or [text]
    return np.fromiter((crc32(word.encode()) for word in words), np.uint64, len(words))


def run_hashes(words: Hashes, length: int) -> Hashes:
    """Return a hash for each run of `length` words. Fewer words have no run."""
    if len(words) < length:
        return np.zeros(0, np.uint64)
    return mixed(np.lib.stride_tricks.sliding_window_view(words, length).T)


def mixed(rows: NDArray[np.uint64]) -> Hashes:
    """Combine the rows of an array into one row of hashes. Each depends on all elements of its column, in order."""
    combined = np.zeros(rows.shape[1], np.uint64)
    for row in rows:
        combined = (combined ^ row) * _MULTIPLIER
        combined ^= combined >> np.uint64(29)
    return combined


def is_among(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Return for each hash whether it is in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.asarray(known[places] == hashes)
