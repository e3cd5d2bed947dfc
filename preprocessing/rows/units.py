"""Units: what chunks are gathered from. A sentence is a unit, unless it is too long for a segment.

A row has no room for a sentence that is longer than half of it beside another one. Such a sentence is cut into pieces
at places that differ from pass to pass, so that what one pass cuts off at the end of a row, another one holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from preprocessing.rows.randomness import absorb, draw_below

_PLACES = np.uint64(0x756E697473)  # separates the places of cuts from a document's other random numbers


@dataclass(frozen=True)
class Units:
    """The units of documents, in order."""

    token_offsets: NDArray[np.int64]  # [units + 1]
    document_offsets: NDArray[np.int64]  # [documents + 1], into units
    sentences: NDArray[np.int64]  # [units], the sentence that each one is, or is a piece of

    def to_sentences(self, segments: NDArray[np.void]) -> None:
        """Replace `first` and `end`, which number units, by numbers of sentences."""
        segments["end"] = self.sentences[segments["end"] - 1] + 1
        segments["first"] = self.sentences[segments["first"]]


def cut_into_units(
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    most_tokens: int,
) -> Units:
    """Return the units of documents without empty sentences, each of at most `most_tokens` tokens."""
    lengths = np.diff(token_offsets)
    most_units = int(np.sum((lengths - 2) // most_tokens + 2))  # after a first piece of one token
    units = _cut(token_offsets, document_offsets, keys, pass_number, most_tokens, most_units)
    return Units(*units)


@compiled
def _cut(
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    pass_number: np.uint64,
    most_tokens: int,
    most_units: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut each longer sentence after 1 to `most_tokens` tokens, and then every `most_tokens` tokens."""
    starts = np.empty(most_units + 1, np.int64)
    sentences = np.empty(most_units, np.int64)
    documents = np.zeros(len(document_offsets), np.int64)
    state = np.empty(1, np.uint64)
    units = 0
    for document in range(len(document_offsets) - 1):
        state[0] = absorb(absorb(keys[document], pass_number), _PLACES)
        for sentence in range(document_offsets[document], document_offsets[document + 1]):
            start, end = token_offsets[sentence], token_offsets[sentence + 1]
            is_cut = end - start > most_tokens
            step = 1 + draw_below(state, most_tokens) if is_cut else most_tokens
            while start < end:
                starts[units], sentences[units] = start, sentence
                units += 1
                start += step
                step = most_tokens
        documents[document + 1] = units
    starts[units] = token_offsets[-1]
    return starts[: units + 1].copy(), documents, sentences[:units].copy()
