"""Encode sentences into word-piece ids: exactly those of Hugging Face `tokenizers`, at many times its speed.

`span_table` cuts the text and numbers the distinct spans. `tokenizers` normalises, splits and encodes each distinct
span once. A loop then concatenates the ids.

Text never yields a special id other than [UNK]: a literal "[MASK]" is three words, "[", "MASK" and "]", as in
`tokenizers` with `encode_special_tokens` set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from configs.compiled import compiled
from preprocessing.dataset import IntArray, token_dtype
from preprocessing.vocabulary.span_table import END_OF_SENTENCE, SpanTable, WordSplitter, joined
from preprocessing.vocabulary.vocabulary import MAX_WORD_CHARS, UNK, Vocabulary

_SENTENCES_A_BLOCK = 4096
_SPANS_A_BATCH = 4096


class Encoder:
    """Encodes with one vocabulary, and caches the spans seen, up to a bound. Keep one encoder per process."""

    def __init__(self, vocabulary: Vocabulary, table: SpanTable | None = None) -> None:
        self._splitter = WordSplitter(vocabulary.lowercase, vocabulary.strip_accents)
        self._model = Tokenizer(vocabulary.model())
        self._dtype = token_dtype(len(vocabulary))
        self._table = table or SpanTable(vocabulary.lowercase)
        self._pieces: IntArray = np.zeros(1 << 20, self._dtype)
        self._piece_ends = np.zeros(self._table.most_spans + 1, np.int64)  # span n: pieces[ends[n] : ends[n + 1]]
        self._unknown_id = vocabulary.ids[UNK]
        self._characters = np.zeros((self._table.most_spans, 3), np.int64)  # of span n: see `encode`
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
                block, ends = _expand(stream, self._pieces, self._piece_ends)
                ids.append(block)
                offsets.append(ends + total)
                characters.append(self._characters_of(stream))
                total += len(block)
        return np.concatenate(ids), np.concatenate(offsets), np.concatenate(characters)

    def _characters_of(self, stream: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the characters of each sentence of a stream of span numbers, which ends with a sentence."""
        is_end = stream == END_OF_SENTENCE
        of_spans = self._characters[np.where(is_end, 0, stream)]
        of_spans[is_end] = 0
        sums: NDArray[np.int64] = np.cumsum(of_spans, axis=0)[is_end]
        return np.diff(sums, axis=0, prepend=np.zeros((1, 3), np.int64))

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

    def _encode_new_spans(self) -> None:
        """Encode the spans that the last scan added to the table."""
        new = self._table.texts(self._encoded)
        for start in range(0, len(new), _SPANS_A_BATCH):
            words = [self._splitter.words(span) for span in new[start : start + _SPANS_A_BATCH]]
            encoding = self._model.encode(list(chain.from_iterable(words)), is_pretokenized=True)
            owners = np.repeat(np.arange(len(words)), [len(of_span) for of_span in words])
            counts = np.bincount(owners[np.array(encoding.word_ids, np.int64)], minlength=len(words))
            self._count_characters(words, encoding)
            self._keep(np.array(encoding.ids, self._dtype), counts)

    def _count_characters(self, words: list[list[str]], encoding: Encoding) -> None:
        """Count the characters of the next spans, whose words became this encoding."""
        sizes = np.array([len(word) for of_span in words for word in of_span], np.int64)
        is_unknown = np.zeros(len(sizes), np.bool_)
        is_unknown[np.array(encoding.word_ids, np.int64)[np.array(encoding.ids) == self._unknown_id]] = True
        columns = (sizes, sizes * is_unknown, sizes * (is_unknown & (sizes > MAX_WORD_CHARS)))
        owners = np.repeat(np.arange(len(words)), [len(of_span) for of_span in words])
        for column, counts in enumerate(columns):
            of_spans = np.bincount(owners, counts, minlength=len(words))
            self._characters[self._encoded : self._encoded + len(words), column] = of_spans

    def _keep(self, pieces: IntArray, counts: NDArray[np.int64]) -> None:
        used = int(self._piece_ends[self._encoded])
        while used + len(pieces) > len(self._pieces):
            self._pieces = np.concatenate([self._pieces, self._pieces])
        self._pieces[used : used + len(pieces)] = pieces
        self._piece_ends[self._encoded + 1 : self._encoded + 1 + len(counts)] = used + np.cumsum(counts)
        self._encoded += len(counts)


@compiled
def _expand(
    stream: NDArray[np.int32], pieces: IntArray, piece_ends: NDArray[np.int64]
) -> tuple[IntArray, NDArray[np.int64]]:
    """Return the pieces of a stream of span numbers, and the number of pieces up to the end of each sentence."""
    length = sentences = 0
    for number in stream:
        if number == END_OF_SENTENCE:
            sentences += 1
        else:
            length += piece_ends[number + 1] - piece_ends[number]
    ids = np.empty(length, pieces.dtype)
    ends = np.empty(sentences, np.int64)
    length = sentences = 0
    for number in stream:
        if number == END_OF_SENTENCE:
            ends[sentences] = length
            sentences += 1
        else:
            for place in range(piece_ends[number], piece_ends[number + 1]):
                ids[length] = pieces[place]
                length += 1
    return ids, ends
