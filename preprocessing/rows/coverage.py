"""Count the word pieces of a group's split that stand in no row, pass after pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.dataset import PassLosses, PiecesInNoRow, Split
from preprocessing.rows.pairs import Pairs, TokenizedDocuments

_Bools = NDArray[np.bool_]
_Ints = NDArray[np.int64]


class Coverage:
    """The word pieces of documents that rows hold. Copies of a document count as one: a piece of any copy counts."""

    def __init__(self, documents: TokenizedDocuments) -> None:
        self._sentences = documents.sentence_offsets
        self._documents = documents.sentence_offsets[documents.document_offsets]  # [documents + 1], into tokens
        starts = self._documents[:-1]
        self._shifts = starts[_first_copies(documents)] - starts  # from a copy to the first one, in tokens
        self._is_first = documents.copies == 0
        self._seen = np.zeros(len(documents.ids), np.bool_)  # in a row of any pass
        lengths = np.diff(documents.sentence_offsets)
        self._sentence_of = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)  # [tokens]

    def add(self, pairs: Pairs, split: Split, pass_number: int) -> PassLosses:
        """Add the rows of one pass, and return what the pass loses."""
        seen = np.zeros(len(self._seen), np.bool_)
        cut = np.zeros(len(self._sentences) - 1, np.bool_)
        a_tokens = pairs.segment_a_length.astype(np.int64) - 2
        b_tokens = np.maximum(np.diff(pairs.input_offsets) - a_tokens - 3, 0)  # a single segment has one [SEP] less
        for document, start, tokens in (
            (pairs.a_document, pairs.a_start, a_tokens),
            (pairs.b_document, pairs.b_start, b_tokens),
        ):
            rows = np.flatnonzero(tokens)
            starts = start[rows] + self._shifts[document[rows]]
            _mark(seen, starts, tokens[rows])
            _mark_cut(cut, self._sentences, self._sentence_of, starts, starts + tokens[rows])
        self._seen |= seen
        return PassLosses(
            split=split,
            pass_number=pass_number,
            pieces=int(np.diff(self._documents)[self._is_first].sum()),
            tokens_cut=pairs.tokens_cut,
            sentences_cut=int(np.count_nonzero(cut)),
            in_no_row=self._in_no_row(seen),
        )

    def in_no_row_of_any_pass(self) -> PiecesInNoRow:
        """Return the pieces that stand in no row of the passes added so far."""
        return self._in_no_row(self._seen)

    def _in_no_row(self, seen: _Bools) -> PiecesInNoRow:
        of_document = _seen_by_document(seen, self._documents)[self._is_first]
        missing = np.diff(self._documents)[self._is_first] - of_document
        no_pair = int(missing[of_document == 0].sum())
        return PiecesInNoRow(cut=int(missing.sum()) - no_pair, no_pair=no_pair)


def _first_copies(documents: TokenizedDocuments) -> _Ints:
    """Return for each document the first one with its digest."""
    first = np.arange(len(documents.copies))
    if documents.copies.any():
        names = np.ascontiguousarray(documents.digests).view("V32").reshape(-1)
        _, firsts, of_document = np.unique(names, return_index=True, return_inverse=True)
        first = firsts[of_document.reshape(-1)]
    return first


@compiled
def _mark(seen: _Bools, starts: _Ints, tokens: _Ints) -> None:
    """Mark the tokens of segments."""
    for segment in range(len(starts)):
        for token in range(tokens[segment]):
            seen[starts[segment] + token] = True


@compiled
def _seen_by_document(seen: _Bools, documents: _Ints) -> _Ints:
    """Count the tokens of each document that stand in a row."""
    counts = np.zeros(len(documents) - 1, np.int64)
    for document in range(len(counts)):
        for token in range(documents[document], documents[document + 1]):
            counts[document] += seen[token]
    return counts


def _mark_cut(cut: _Bools, offsets: _Ints, sentence_of: NDArray[np.int32], starts: _Ints, ends: _Ints) -> None:
    """Mark the sentences that begin before a segment's first token or end after its last one."""
    first, last = sentence_of[starts], sentence_of[ends - 1]
    cut[first[offsets[first] < starts]] = True
    cut[last[offsets[last + 1] > ends]] = True
