"""Split words into pieces: longest match first, from left to right, as Hugging Face's WordPiece model does.

The pieces form a trie over their UTF-8 bytes, with one root for those that begin a word and one for those that continue
it. UTF-8 makes each match end between two characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.dataset import IntArray, token_dtype
from preprocessing.vocabulary.tokenizer_json import UNK
from preprocessing.vocabulary.vocabulary import CONTINUATION, MAX_WORD_CHARS, Vocabulary

_BEGINS, _CONTINUES = 0, 1  # the roots
_NO_PIECE = -1
_NONE = np.uint64(0)  # no node has a root as its child


class SplitWords(NamedTuple):
    """The pieces of words, one word behind another."""

    ids: IntArray
    counts: NDArray[np.int64]  # [words], of pieces
    characters: NDArray[np.int64]  # [words, 3]: all, those of unknown words, those of words that are too long


class PieceTrie:
    """The pieces of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        beginning = [piece.encode() for piece in vocabulary.pieces]
        continuing = [piece.removeprefix(CONTINUATION.encode()) for piece in beginning]
        numbers = np.flatnonzero([len(one) > len(other) > 0 for one, other in zip(beginning, continuing, strict=True)])
        content, ends = _joined([*beginning, *(continuing[number] for number in numbers)])
        roots = np.repeat([_BEGINS, _CONTINUES], [len(beginning), len(numbers)])
        ids = np.concatenate([np.arange(len(beginning)), numbers])
        self._slots = np.zeros((1 << (2 * len(content)).bit_length(), 2), np.uint64)
        self._piece_of = np.full(len(content) + 2, _NO_PIECE, np.int64)  # of node n, the one that ends there
        _build(content, ends, roots, ids, self._slots, self._piece_of)
        self._unknown_id = vocabulary.ids[UNK]
        self._dtype = token_dtype(len(vocabulary))

    def split(self, content: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> SplitWords:
        """Split the words `content[starts[n] : ends[n]]`."""
        ids = np.empty(int((ends - starts).sum()) + len(starts), self._dtype)  # at most a piece a byte
        counts, characters = np.zeros(len(starts), np.int64), np.zeros((len(starts), 3), np.int64)
        total = _split(
            content,
            starts,
            ends,
            self._slots,
            self._piece_of,
            self._unknown_id,
            MAX_WORD_CHARS,
            ids,
            counts,
            characters,
        )
        return SplitWords(ids[:total], counts, characters)


def _joined(words: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return np.frombuffer(b"".join(words), np.uint8), np.cumsum([0, *map(len, words)])


@compiled
def _build(
    content: NDArray[np.uint8],
    ends: NDArray[np.int64],
    roots: NDArray[np.int64],
    ids: NDArray[np.int64],
    slots: NDArray[np.uint64],
    piece_of: NDArray[np.int64],
) -> None:
    """Enter the pieces `content[ends[n] : ends[n + 1]]`. A slot holds a node with a byte, and the child: 0 for none."""
    nodes = 2
    for piece in range(len(ids)):
        node = np.int64(roots[piece])
        for place in range(ends[piece], ends[piece + 1]):
            key = _key(node, content[place])
            slot = _slot(key, len(slots))
            while slots[slot, 1] != _NONE and slots[slot, 0] != key:
                slot = (slot + 1) & (len(slots) - 1)
            if slots[slot, 1] == _NONE:
                slots[slot, 0], slots[slot, 1] = key, np.uint64(nodes)
                nodes += 1
            node = np.int64(slots[slot, 1])
        piece_of[node] = ids[piece]


@compiled
def _split(
    content: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    slots: NDArray[np.uint64],
    piece_of: NDArray[np.int64],
    unknown_id: int,
    most_chars: int,
    ids: IntArray,
    counts: NDArray[np.int64],
    characters: NDArray[np.int64],
) -> int:
    """Fill `ids`, `counts` and `characters`, and return the number of ids."""
    total = 0
    for word in range(len(starts)):
        chars = 0
        for place in range(starts[word], ends[word]):
            chars += (content[place] & 0xC0) != 0x80
        begin, root, first = starts[word], _BEGINS, total
        while begin < ends[word] and chars <= most_chars:
            node, piece, end = np.int64(root), _NO_PIECE, begin
            for place in range(begin, ends[word]):
                key = _key(node, content[place])
                slot = _slot(key, len(slots))
                while slots[slot, 1] != _NONE and slots[slot, 0] != key:
                    slot = (slot + 1) & (len(slots) - 1)
                node = np.int64(slots[slot, 1])
                if node == 0:
                    break
                if piece_of[node] != _NO_PIECE:
                    piece, end = piece_of[node], place + 1
            if piece == _NO_PIECE:
                break
            ids[total] = piece
            total += 1
            begin, root = end, _CONTINUES
        characters[word, 0] = chars
        if begin < ends[word]:
            ids[first] = unknown_id
            total = first + 1
            characters[word, 1] = chars
            characters[word, 2] = chars if chars > most_chars else 0
        counts[word] = total - first
    return total


@compiled
def _key(node: np.int64, byte: np.uint8) -> np.uint64:
    return np.uint64(node) << np.uint64(8) | np.uint64(byte)


@compiled
def _slot(key: np.uint64, slots: int) -> np.int64:
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) * slots >> 32
