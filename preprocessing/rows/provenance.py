"""The origin of each row's segments, as columns of its shard. It proves that a random B is from another document."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocessing.dataset import Provenance
from preprocessing.rows.pairs import Pairs, TokenizedDocuments


def provenance_of(pairs: Pairs, documents: TokenizedDocuments) -> Provenance:
    """Return the provenance columns of pairs that were made from these documents."""
    has_pieces = np.diff(documents.sentence_offsets) > 0
    ordinals = np.append(0, np.cumsum(has_pieces))  # the sentence's number, counting only sentences with word pieces
    first_tokens = documents.sentence_offsets[documents.document_offsets]
    names = np.ascontiguousarray(documents.digests[:, :8]).view(">u8").reshape(-1).astype(np.uint64)

    def place(
        document: NDArray[np.int64], first: NDArray[np.int64], sentences: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        before = ordinals[documents.document_offsets[document]]
        count = ordinals[first + sentences] - ordinals[first]
        return (ordinals[first] - before).astype(np.uint32), count.astype(np.uint16)

    a_first, a_sentences = place(pairs.a_document, pairs.a_first_sentence, pairs.a_sentences)
    b_first, b_sentences = place(pairs.b_document, pairs.b_first_sentence, pairs.b_sentences)
    return Provenance(
        a_document=names[pairs.a_document],
        a_first_sentence=a_first,
        a_sentences=a_sentences,
        b_document=names[pairs.b_document],
        b_first_sentence=b_first,
        b_sentences=b_sentences,
        a_start=(pairs.a_start - first_tokens[pairs.a_document]).astype(np.uint32),
        b_start=(pairs.b_start - first_tokens[pairs.b_document]).astype(np.uint32),
    )
