"""Tokenised documents to the rows of one pass, without masks.

| objective | rows | label 1 means | planned in |
|---|---|---|---|
| `nsp`, `balanced` | `[CLS] A [SEP] B [SEP]` | B comes from another document | chunks, negatives |
| `nsp`, `reference` | `[CLS] A [SEP] B [SEP]` | B comes from another document | reference_pairs |
| `sop` | `[CLS] A [SEP] B [SEP]` | B stands before A | chunks |
| `none` | `[CLS] text [SEP]` | (it is 0) | chunks |

Sentences are whole in `reference` and `none`; in the other modes, long ones are cut into units first. Rows are planned
as ranges of tokens; this module copies the tokens. Random numbers are drawn from a key made of the seed, the document's
digest, its copy, and the pass, so that rows depend on the set of documents and not on their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from configs.schema import PairingConfig
from preprocessing.dataset import IntArray, VocabularyEntry
from preprocessing.rows.planning import Source, Targets, plan_rows


@dataclass(frozen=True)
class TokenizedDocuments:
    """The documents of one group and split. Sentences and documents can be empty; empty ones are skipped."""

    ids: IntArray  # word pieces of all sentences, one behind another
    sentence_offsets: NDArray[np.int64]  # [sentences + 1], into ids
    document_offsets: NDArray[np.int64]  # [documents + 1], into sentences
    digests: NDArray[np.uint8]  # [documents, 32], SHA-256 of the cleaned text
    copies: NDArray[np.int64]  # [documents], tells equal documents apart
    corpora: NDArray[np.int64]  # [documents], the number of the corpus
    languages: NDArray[np.int64]  # [documents], equal for documents of one language


@dataclass(frozen=True)
class Pairs:
    """Rows without masks, and where they come from. Documents and sentences are numbered as in `TokenizedDocuments`.

    Under the objective `none` there is no B: `segment_a_length` is the whole row's, `b_sentences` 0.
    """

    input_ids: IntArray  # of all rows, one behind another
    input_offsets: NDArray[np.int64]  # [rows + 1]
    segment_a_length: NDArray[np.uint16]  # [rows], [CLS] and the first [SEP] included
    next_sentence_label: NDArray[np.uint8]  # [rows]
    forced: NDArray[
        np.bool_
    ]  # [rows], labelled without a coin: 1 for a chunk of one sentence (reference), 0 for no partner
    short: NDArray[np.bool_]  # [rows], whether the row's target length is below the length of a row
    targets: Targets
    keys: NDArray[np.uint64]  # [rows], of seed, document, copy and the row's number in it: for its masks
    a_document: NDArray[np.int64]  # [rows], and so below: the whole sentences that a segment was cut from
    a_first_sentence: NDArray[np.int64]
    a_sentences: NDArray[np.int64]
    b_document: NDArray[np.int64]
    b_first_sentence: NDArray[np.int64]
    b_sentences: NDArray[np.int64]
    a_start: NDArray[np.int64]  # the segments' first tokens, into the documents' ids
    b_start: NDArray[np.int64]
    tokens_cut: int  # that the chunks had before they were cut
    repeated: int  # rows, the last ones: partners that form a couple for the second time (balanced mode)
    # By cause. Documents: `no_other_document` to take a random B from; `one_sentence`, which makes no pair. Sentences:
    # `lone_sentence`, in a document without another one (reference mode).
    drops: dict[str, int]

    def __len__(self) -> int:
        return len(self.segment_a_length)


def make_pairs(
    documents: TokenizedDocuments, config: PairingConfig, vocabulary: VocabularyEntry, pass_number: int
) -> Pairs:
    """Return all rows of one pass over the documents, in their order."""
    sentences = np.flatnonzero(np.diff(documents.sentence_offsets))
    token_offsets = np.append(documents.sentence_offsets[sentences], documents.sentence_offsets[-1])
    document_offsets = np.searchsorted(sentences, documents.document_offsets)
    named = np.flatnonzero(np.diff(document_offsets))
    source = Source(
        token_offsets,
        np.append(document_offsets[named], len(sentences)),
        documents.digests[named],
        documents.copies[named],
        documents.corpora[named],
        documents.languages[named],
    )
    planned = plan_rows(source, config, pass_number)
    plan = planned.rows
    input_ids, input_offsets = _copy_tokens(documents.ids, plan, vocabulary.cls_id, vocabulary.sep_id)
    a_first, a_sentences = _whole_sentences(plan["a"], sentences)
    b_first, b_sentences = _whole_sentences(plan["b"], sentences)
    return Pairs(
        input_ids=input_ids,
        input_offsets=input_offsets,
        segment_a_length=(plan["a"]["tokens"] + 2).astype(np.uint16),
        next_sentence_label=plan["label"].copy(),
        forced=plan["forced"].copy(),
        short=plan["short"].copy(),
        targets=planned.targets,
        keys=plan["key"].copy(),
        a_document=named[plan["a"]["document"]],
        a_first_sentence=a_first,
        a_sentences=a_sentences,
        b_document=named[plan["b"]["document"]],
        b_first_sentence=b_first,
        b_sentences=b_sentences,
        a_start=plan["a"]["start"].copy(),
        b_start=plan["b"]["start"].copy(),
        tokens_cut=planned.tokens_cut,
        repeated=planned.repeated,
        drops=planned.drops,
    )


def _whole_sentences(
    segment: NDArray[np.void], sentences: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first sentence and the number of sentences, including empty ones between them."""
    first = sentences[segment["first"]]
    return first, np.where(segment["tokens"] > 0, sentences[segment["end"] - 1] + 1 - first, 0)


@compiled
def _copy_tokens(ids: IntArray, plan: NDArray[np.void], cls_id: int, sep_id: int) -> tuple[IntArray, NDArray[np.int64]]:
    """Return `[CLS] A [SEP] B [SEP]` or `[CLS] A [SEP]` of all rows, concatenated, and their offsets."""
    offsets = np.zeros(len(plan) + 1, np.int64)
    for row in range(len(plan)):
        a_tokens, b_tokens = plan[row]["a"]["tokens"], plan[row]["b"]["tokens"]
        offsets[row + 1] = offsets[row] + a_tokens + 2 + (b_tokens + 1 if b_tokens else 0)
    rows = np.empty(offsets[-1], ids.dtype)
    for row in range(len(plan)):
        a, b = plan[row]["a"], plan[row]["b"]
        rows[offsets[row]] = cls_id
        place = _copy(ids, a["start"], a["tokens"], rows, offsets[row] + 1)
        rows[place] = sep_id
        if b["tokens"]:
            place = _copy(ids, b["start"], b["tokens"], rows, place + 1)
            rows[place] = sep_id
    return rows, offsets


@compiled
def _copy(ids: IntArray, start: int, tokens: int, rows: IntArray, place: int) -> int:
    """Copy tokens to `rows[place:]` and return the place behind them; a loop compiles four times as fast as slices."""
    for token in range(tokens):
        rows[place + token] = ids[start + token]
    return place + tokens
