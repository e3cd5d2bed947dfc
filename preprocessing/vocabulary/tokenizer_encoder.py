"""Encode sentences with any Hugging Face tokenizer: exactly its ids, and by spans where its text can be cut.

`blank_cuts` says whether the tokenizer's text can be cut at blanks. If so, `tokenizers` encodes each distinct span
once, as with a WordPiece vocabulary; otherwise it encodes each sentence. Sentences that hold an added token, which can
reach over blanks, are always encoded whole.

Text never yields a special id other than that of unknown text: a literal special token is split like other text, as in
`tokenizers` with `encode_special_tokens` set, and becomes unknown where the model would still give it the special id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from preprocessing.dataset import IntArray
from preprocessing.vocabulary.blank_cuts import BlankCutter, separation
from preprocessing.vocabulary.piece_trie import SplitWords
from preprocessing.vocabulary.span_table import SpanTable
from preprocessing.vocabulary.tokenizer_json import UNK, TokenizerJson, parts_of
from preprocessing.vocabulary.vocabulary import Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder, SpanEncoder

_TEXTS_A_CALL = 4096
_NUL = "\0"  # the keys of spans are padded with it

Encoded = tuple[IntArray, NDArray[np.int64], NDArray[np.int64]]


def encoder_of(vocabulary: Vocabulary) -> SpanEncoder:
    """Return the encoder of a vocabulary. Keep one per process: it caches the spans of text that it encounters."""
    return TokenizerEncoder(vocabulary, vocabulary.source) if vocabulary.source else Encoder(vocabulary)


class TokenizerEncoder(SpanEncoder):
    """Encodes with any tokenizer."""

    def __init__(self, vocabulary: Vocabulary, source: TokenizerJson, table: SpanTable | None = None) -> None:
        blank = separation(source)
        cutter = BlankCutter(source, blank) if blank else None
        super().__init__(len(vocabulary), table or SpanTable(lowercase=False, cutter=cutter))
        self.is_cut = cutter is not None
        self.follows_blank = _keeps_blanks(source)
        self._tokenizer = source.tokenizer()
        self._tokenizer.encode_special_tokens = True
        self._unknown = vocabulary.id_of(UNK)
        self._is_special = np.zeros(len(vocabulary), np.bool_)
        self._is_special[[vocabulary.ids[piece] for piece in source.special]] = True
        added = [token["content"] for token in source.fields["added_tokens"] if not token.get("special")]
        self._whole = re.compile("|".join(map(re.escape, [_NUL, *added])))

    def encode(self, sentences: Sequence[str]) -> Encoded:
        """Return the ids of all sentences, their offsets, and the numbers of characters, as `SpanEncoder` does."""
        runs = groupby(sentences, self._is_whole)
        parts = [
            self._encode_whole(list(run)) if whole else super(TokenizerEncoder, self).encode(list(run))
            for whole, run in runs
        ]
        return _joined([super().encode([]), *parts])

    def _is_whole(self, sentence: str) -> bool:
        return not self.is_cut or self._whole.search(sentence) is not None

    def _encode_whole(self, sentences: Sequence[str]) -> Encoded:
        split = self._split(sentences)
        return split.ids, np.append(0, np.cumsum(split.counts)), split.characters

    def _encode_new_spans(self) -> None:
        spans = self._table.texts(self._encoded)
        if spans:
            self._keep(self._split(spans), np.arange(len(spans)), len(spans))

    def _split(self, texts: Sequence[str]) -> SplitWords:
        """Return the ids of all texts, how many each has, and its characters: all, and unknown ones."""
        of_texts = [
            encoding.ids
            for start in range(0, len(texts), _TEXTS_A_CALL)
            for encoding in self._tokenizer.encode_batch_fast(
                texts[start : start + _TEXTS_A_CALL], add_special_tokens=False
            )
        ]
        counts = np.fromiter(map(len, of_texts), np.int64, len(of_texts))
        ids: IntArray = np.array([number for of_text in of_texts for number in of_text], self._dtype)
        ids[self._is_special[ids]] = self._unknown
        characters = np.zeros((len(texts), 3), np.int64)
        characters[:, 0] = [len(text) - sum(map(text.count, " \t")) for text in texts]
        owners = np.repeat(np.arange(len(texts)), counts)
        for number in np.unique(owners[ids == self._unknown]).tolist():
            characters[number, 1] = min(self._unknown_characters(texts[number]), characters[number, 0])
        return SplitWords(ids, counts, characters)

    def _unknown_characters(self, text: str) -> int:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        unknown = (self._unknown, *np.flatnonzero(self._is_special))
        places = {
            place
            for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if number in unknown
            for place in range(start, end)
        }
        return sum(not text[place].isspace() for place in places)


def _keeps_blanks(source: TokenizerJson) -> bool:
    """Return whether a blank before a text is part of its first token, and missing if the text has none there."""
    splitters = parts_of(source.fields.get("pre_tokenizer"), "pretokenizers")
    return any(one.get("type") == "ByteLevel" and not one.get("add_prefix_space", True) for one in splitters)


def _joined(parts: Sequence[Encoded]) -> Encoded:
    ids, offsets, characters = zip(*parts, strict=True)
    before = np.cumsum([0, *map(len, ids)])
    ends = [of_part[1:] + start for of_part, start in zip(offsets, before.tolist(), strict=False)]
    return np.concatenate(ids), np.concatenate([np.zeros(1, np.int64), *ends]), np.concatenate(characters)
