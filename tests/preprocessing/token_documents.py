"""Tokenised documents of which every token has an id of its own, so that a row's ids tell where it comes from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from preprocessing.dataset.manifest import VocabularyEntry
from preprocessing.rows.pairs import Pairs, TokenizedDocuments

CLS, SEP, FIRST_ID = 2, 3, 5
VOCABULARY = VocabularyEntry(
    sha256="", size=1 << 20, lowercase=True, pad_id=0, unk_id=1, cls_id=CLS, sep_id=SEP, mask_id=4
)

# A document is the lengths of its sentences.
documents_of_lengths = st.lists(st.lists(st.integers(0, 12), max_size=12), min_size=1, max_size=6)


def make_documents(
    lengths: Sequence[Sequence[int]],
    names: Sequence[str] | None = None,
    corpora: Sequence[int] | None = None,
    languages: Sequence[int] | None = None,
) -> TokenizedDocuments:
    """Documents with the given lengths of sentences; documents of one name are copies of one another."""
    names = names or [str(number) for number in range(len(lengths))]
    flat = [length for document in lengths for length in document]
    digests = b"".join(hashlib.sha256(name.encode()).digest() for name in names)
    return TokenizedDocuments(
        ids=np.arange(FIRST_ID, FIRST_ID + sum(flat), dtype=np.uint32),
        sentence_offsets=np.cumsum([0, *flat]),
        document_offsets=np.cumsum([0, *map(len, lengths)]),
        digests=np.frombuffer(digests, np.uint8).reshape(-1, 32),
        copies=np.array([names[:place].count(name) for place, name in enumerate(names)]),
        corpora=np.zeros(len(names), np.int64) if corpora is None else np.array(corpora),
        languages=np.zeros(len(names), np.int64) if languages is None else np.array(languages),
    )


def segments(pairs: Pairs, row: int) -> tuple[list[int], list[int]]:
    """A's and B's ids; checks what stands around them."""
    ids = pairs.input_ids[pairs.input_offsets[row] : pairs.input_offsets[row + 1]].tolist()
    a_length = int(pairs.segment_a_length[row])
    assert (ids[0], ids[a_length - 1], ids[-1]) == (CLS, SEP, SEP)
    return ids[1 : a_length - 1], ids[a_length:-1]


def source(documents: TokenizedDocuments, first: int, sentences: int) -> list[int]:
    start, end = documents.sentence_offsets[[first, first + sentences]]
    ids: list[int] = documents.ids[start:end].tolist()
    return ids


def is_slice(part: list[int], whole: list[int]) -> bool:
    return bool(part) and part == list(range(part[0], part[-1] + 1)) and whole[0] <= part[0] <= part[-1] <= whole[-1]


def fair_share(source_a: int, source_b: int, most: int) -> tuple[int, int]:
    """The lengths after taking tokens from the longer segment, B when they are equal, until both fit."""
    while source_a + source_b > most:
        if source_a > source_b:
            source_a -= 1
        else:
            source_b -= 1
    return source_a, source_b


def rows_of(pairs: Pairs) -> list[tuple[list[int], list[int], int]]:
    return [(*segments(pairs, row), int(pairs.next_sentence_label[row])) for row in range(len(pairs))]


def content(pairs: Pairs, documents: TokenizedDocuments) -> set[tuple[bytes, int, tuple[int, ...], int, int]]:
    """The pairs told without the order of the documents: by digests and by places within a document."""
    result = set()
    for row in range(len(pairs)):
        a_document, b_document = pairs.a_document[row], pairs.b_document[row]
        a_base, b_base = documents.sentence_offsets[documents.document_offsets[[a_document, b_document]]]
        a, b = segments(pairs, row)
        places = tuple(place - FIRST_ID - int(a_base) for place in a) + tuple(b - b_base for b in b)
        digests = documents.digests[a_document].tobytes() + documents.digests[b_document].tobytes()
        copy = int(documents.copies[a_document])
        result.add((digests, copy, places, int(pairs.next_sentence_label[row]), int(pairs.keys[row])))
    return result


def within_4_sigma(successes: int, trials: int, probability: float) -> bool:
    return abs(successes - trials * probability) <= 4 * math.sqrt(trials * probability * (1 - probability))
