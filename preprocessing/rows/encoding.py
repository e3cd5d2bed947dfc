"""Convert documents to word pieces, one batch at a time, and cut the stream of documents into groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from preprocessing.corpus import Dropped, Kept, batches, cut_evenly
from preprocessing.dataset import IntArray, Split
from preprocessing.rows.pairs import TokenizedDocuments
from preprocessing.rows.sentences import WITHOUT_BLANKS, split_sentences
from preprocessing.vocabulary import SpanEncoder

_MIN_BYTES_PER_WORD_PIECE = 4  # lower bound for counting; English has about 4.6, Chinese 3, punctuation 1
_MOST_GROUP_BYTES = 64_000_000  # the highest value of data.group_bytes
_NO_IDS = np.zeros(0, np.uint16)
_NO_LENGTHS = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class EncodedDocument:
    """A document as word pieces, without its text."""

    ids: IntArray  # of all sentences, concatenated
    sentence_lengths: NDArray[np.int64]  # in word pieces
    text_bytes: int
    digest: bytes
    split: Split
    copies: int  # how often the document is used
    repairs: tuple[str, ...]  # repairs made in the text, as causes to count
    corpus: int = 0  # the number of its corpus in the recipe
    span: int = 0  # the place of its span in its work item
    read_bytes: int = 0  # as it was read
    characters: tuple[int, int, int] = (0, 0, 0)  # all, unknown, and in words that are too long: see `Encoder.encode`
    language: str = ""  # of its corpus


# The outcome for an input document: it was kept, or dropped.
Outcome = EncodedDocument | Dropped


def encode_documents(
    documents: Iterable[Kept | Dropped], language_of: Callable[[int], str], encoder: SpanEncoder
) -> Iterator[Outcome]:
    """Yield the same stream with each kept document as word pieces.

    `language_of` returns the language of a corpus, given its number.
    """
    for batch in batches(documents):
        sentences = [
            _sentences(document, language_of(document.corpus), after_blank=encoder.follows_blank)
            for document in batch
            if isinstance(document, Kept)
        ]
        ids, offsets, characters = encoder.encode([sentence for of_document in sentences for sentence in of_document])
        lengths = np.diff(offsets)
        ends = accumulate(map(len, sentences))
        begin = 0
        for document in batch:
            if isinstance(document, Kept):
                end = next(ends)
                own = ids[offsets[begin] : offsets[end]]
                language = language_of(document.corpus)
                yield _encoded(document, own, lengths[begin:end], characters[begin:end], language)
                begin = end
            else:
                yield document


def cut_groups(
    outcomes: Iterable[Outcome], group_bytes: int, least_documents: int = 1
) -> Iterator[tuple[list[Outcome], bool]]:
    """Yield the stream in groups of about `group_bytes` of text, each with whether it is the last group.

    A group of long documents holds more text, up to 64 MB, until it has `least_documents`. Word pieces determine the
    memory use, so a group holds less text where they are short (Chinese, punctuation).

    The end of a group depends only on the documents from its beginning on, so the stream can resume at any group. The
    cut looks half a group ahead, so no group is smaller than half of `group_bytes` unless it is the only one: a group
    with few documents offers few random segments.
    """

    def fill(outcome: Outcome) -> int:
        """Return the part of a group's bytes that the outcome fills: a long document at most one document's part."""
        size = _size(outcome)
        return max(min(size, group_bytes // least_documents), size * group_bytes // _MOST_GROUP_BYTES)

    return cut_evenly(outcomes, fill, group_bytes)


def tokenized(documents: Sequence[EncodedDocument]) -> TokenizedDocuments:
    """Concatenate documents of one split."""
    lengths = np.concatenate([_NO_LENGTHS, *(document.sentence_lengths for document in documents)])
    sentences = np.array([len(document.sentence_lengths) for document in documents], np.int64)
    languages = sorted({document.language for document in documents})
    seen: Counter[bytes] = Counter()
    copies: list[int] = []
    for document in documents:
        copies.append(seen[document.digest])
        seen[document.digest] += 1
    return TokenizedDocuments(
        ids=np.concatenate([_NO_IDS, *(document.ids for document in documents)]),
        sentence_offsets=np.append(0, np.cumsum(lengths)),
        document_offsets=np.append(0, np.cumsum(sentences)),
        digests=np.frombuffer(b"".join(document.digest for document in documents), np.uint8).reshape(-1, 32),
        copies=np.array(copies, np.int64),
        corpora=np.array([document.corpus for document in documents], np.int64),
        languages=np.array([languages.index(document.language) for document in documents], np.int64),
    )


def _sentences(document: Kept, language: str, *, after_blank: bool) -> list[str]:
    """Return the document's sentences, with the blank before each that follows another one if the encoder needs it."""
    sentences = document.text.split("\n") if document.is_split else split_sentences(document.text, language)
    blank = " " if after_blank and language not in WITHOUT_BLANKS else ""
    return [blank * bool(number and sentence) + sentence for number, sentence in enumerate(sentences)]


def _encoded(
    document: Kept, ids: IntArray, sentence_lengths: NDArray[np.int64], characters: NDArray[np.int64], language: str
) -> Outcome:
    if not len(ids):  # BERT's normalisation removes all of the text
        return Dropped("no_word_pieces", document.span, document.read_bytes)
    every, unknown, too_long = characters.sum(axis=0).tolist()
    return EncodedDocument(
        ids,
        sentence_lengths,
        document.text_bytes,
        document.digest,
        document.split,
        document.times,
        document.repairs,
        document.corpus,
        document.span,
        document.read_bytes,
        (every, unknown, too_long),
        language,
    )


def _size(outcome: Outcome) -> int:
    if not isinstance(outcome, EncodedDocument):
        return 0
    return max(outcome.text_bytes, _MIN_BYTES_PER_WORD_PIECE * len(outcome.ids)) * outcome.copies
