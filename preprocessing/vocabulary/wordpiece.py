"""Encode sentences into word-piece ids: exactly those of Hugging Face `tokenizers`, at many times its speed.

`span_cuts` and `span_table` cut the text and number the distinct spans. Each of them is encoded once: `tokenizers`
normalises it and splits it into words (an ASCII one is a word already), and `piece_trie` splits these into pieces. A
loop then concatenates the ids.

Text never yields a special id other than [UNK]: a literal "[MASK]" is three words, "[", "MASK" and "]", as in
`tokenizers` with `encode_special_tokens` set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.dataset import IntArray, token_dtype
from preprocessing.vocabulary.piece_trie import PieceTrie, SplitWords
from preprocessing.vocabulary.span_cuts import WordSplitter, joined
from preprocessing.vocabulary.span_table import END_OF_SENTENCE, SpanTable
from preprocessing.vocabulary.vocabulary import Vocabulary

_SENTENCES_A_BLOCK = 4096


class SpanEncoder(ABC):
    """Encodes with one vocabulary, and caches the spans seen, up to a bound. Keep one encoder per process."""

    follows_blank = False  # whether the blank before a sentence that follows another one gives it other ids

    def __init__(self, entries: int, table: SpanTable) -> None:
        self._dtype = token_dtype(entries)
        self._table = table
        self._pieces: IntArray = np.zeros(1 << 20, self._dtype)
        self._piece_ends = np.zeros(self._table.most_spans + 1, np.int64)  # span n: pieces[ends[n] : ends[n + 1]]
        self._characters = np.zeros((self._table.most_spans, 3), np.int32)  # of span n: see `encode`
        self._encoded = 0  # the number of spans whose pieces are cached

    def encode(self, sentences: Sequence[str]) -> tuple[IntArray, NDArray[np.int64], NDArray[np.int64]]:
        """Return the word-piece ids of all sentences, their offsets, and the numbers of characters.

        The ids are concatenated: uint16, or uint32 when the vocabulary has more than 65,536 entries. The offsets are
        sentences + 1 values, from 0. The characters of each sentence, normalised and without blanks, are three numbers:
        all of them, those in words that become [UNK], and of the latter those in words of more than MAX_WORD_CHARS.
        """
        ids: list[IntArray] = [np.zeros(0, self._dtype)]
        offsets = [np.zeros(1, np.int64)]
        characters = [np.zeros((0, 3), np.int64)]
        total = 0
        for start in range(0, len(sentences), _SENTENCES_A_BLOCK):
            for stream in self._streams(sentences[start : start + _SENTENCES_A_BLOCK]):
                block, ends, of_sentences = _expand(stream, self._pieces, self._piece_ends, self._characters)
                ids.append(block)
                offsets.append(ends + total)
                characters.append(of_sentences)
                total += len(block)
        return np.concatenate(ids), np.concatenate(offsets), np.concatenate(characters)

    def _streams(self, sentences: Sequence[str]) -> Iterator[NDArray[np.int32]]:
        """Yield the sentences as span numbers, after encoding the spans. Several streams when the table overflows."""
        text = joined(sentences)
        position = 0
        while position < len(text):
            if not self._table.has_room(len(text) - position):
                self._table.clear(len(text) - position)
                self._encoded = 0
            stream, position = self._table.scan(text, position)
            self._encode_new_spans()
            yield stream

    @abstractmethod
    def _encode_new_spans(self) -> None:
        """Encode the spans that the last scan added to the table, and keep their pieces."""

    def _keep(self, split: SplitWords, owners: NDArray[np.int64], spans: int) -> None:
        """Cache the pieces and characters of the next spans; `owners` are the words' spans."""
        used = int(self._piece_ends[self._encoded])
        while used + len(split.ids) > len(self._pieces):
            self._pieces = np.concatenate([self._pieces, self._pieces])
        self._pieces[used : used + len(split.ids)] = split.ids
        of_spans = slice(self._encoded, self._encoded + spans)
        ends = np.cumsum(np.bincount(owners, split.counts, minlength=spans)).astype(np.int64)
        self._piece_ends[1:][of_spans] = used + ends
        for column, characters in enumerate(split.characters.T):
            self._characters[of_spans, column] = np.bincount(owners, characters, minlength=spans)
        self._encoded += spans


class Encoder(SpanEncoder):
    """Encodes with a WordPiece vocabulary."""

    def __init__(self, vocabulary: Vocabulary, table: SpanTable | None = None) -> None:
        super().__init__(len(vocabulary), table or SpanTable(vocabulary.lowercase))
        self._splitter = WordSplitter(vocabulary.lowercase, vocabulary.strip_accents)
        self._trie = PieceTrie(vocabulary)

    def _encode_new_spans(self) -> None:
        keys, ends = self._table.keys(self._encoded)
        if len(ends) == 1:
            return
        lengths, is_ascii = _measure(keys, ends)
        others = np.flatnonzero(~is_ascii)  # the key of an ASCII span is a word; others are normalised and split
        words = [self._splitter.words(span) for span in _texts(keys, ends[others], lengths[others])]
        encoded = [word.encode() for of_span in words for word in of_span]
        content = np.frombuffer(keys.tobytes() + b"".join(encoded), np.uint8)
        word_ends = len(keys) + np.cumsum([0, *map(len, encoded)])
        owners = np.concatenate([np.flatnonzero(is_ascii), np.repeat(others, [len(of_span) for of_span in words])])
        starts = np.concatenate([ends[:-1][is_ascii], word_ends[:-1]])
        stops = np.concatenate([(ends[:-1] + lengths)[is_ascii], word_ends[1:]])
        in_order = np.argsort(owners, kind="stable")
        split = self._trie.split(content, starts[in_order], stops[in_order])
        self._keep(split, owners[in_order], len(lengths))


def _texts(keys: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[str]:
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        yield keys[start : start + length].tobytes().decode()


@compiled
def _measure(keys: NDArray[np.uint8], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the lengths of keys without the zeros that pad them, and whether they are ASCII."""
    lengths = np.diff(ends)
    is_ascii = np.ones(len(lengths), np.bool_)
    for key in range(len(lengths)):
        while keys[ends[key] + lengths[key] - 1] == 0:
            lengths[key] -= 1
        for place in range(ends[key], ends[key] + lengths[key]):
            is_ascii[key] &= keys[place] < 0x80
    return lengths, is_ascii


@compiled
def _expand(
    stream: NDArray[np.int32], pieces: IntArray, piece_ends: NDArray[np.int64], of_spans: NDArray[np.int32]
) -> tuple[IntArray, NDArray[np.int64], NDArray[np.int64]]:
    """Return the pieces of a stream of span numbers, and for each sentence the number of pieces up to its end, and its
    characters.
    """
    length = sentences = 0
    for number in stream:
        if number == END_OF_SENTENCE:
            sentences += 1
        else:
            length += piece_ends[number + 1] - piece_ends[number]
    ids = np.empty(length, pieces.dtype)
    ends = np.empty(sentences, np.int64)
    characters = np.zeros((sentences, 3), np.int64)
    length = sentences = every = unknown = too_long = 0
    for number in stream:
        if number == END_OF_SENTENCE:
            ends[sentences] = length
            characters[sentences, 0], characters[sentences, 1], characters[sentences, 2] = every, unknown, too_long
            sentences += 1
            every = unknown = too_long = 0
        else:
            every += of_spans[number, 0]
            unknown += of_spans[number, 1]
            too_long += of_spans[number, 2]
            for place in range(piece_ends[number], piece_ends[number + 1]):
                ids[length] = pieces[place]
                length += 1
    return ids, ends, characters
