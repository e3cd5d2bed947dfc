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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.compiled import compiled
from configs.schema import PairingConfig
from preprocessing.dataset import IntArray, VocabularyEntry
from preprocessing.rows.chunks import plan_chunks, plan_full_sentences, swap_segments
from preprocessing.rows.negatives import exchange_segments
from preprocessing.rows.randomness import document_keys
from preprocessing.rows.reference_pairs import plan_reference_pairs
from preprocessing.rows.segments import PLAN
from preprocessing.rows.units import cut_into_units

SPECIAL_TOKENS_OF_A_PAIR = 3  # [CLS] A [SEP] B [SEP]
SPECIAL_TOKENS_OF_ONE_SEGMENT = 2  # [CLS] text [SEP]


@dataclass(frozen=True)
class TokenizedDocuments:
    """The documents of one group and split. Sentences and documents can be empty; empty ones are skipped."""

    ids: IntArray  # word pieces of all sentences, one behind another
    sentence_offsets: NDArray[np.int64]  # [sentences + 1], into ids
    document_offsets: NDArray[np.int64]  # [documents + 1], into sentences
    digests: NDArray[np.uint8]  # [documents, 32], SHA-256 of the cleaned text
    copies: NDArray[np.int64]  # [documents], tells equal documents apart
    corpora: NDArray[np.int64]  # [documents], the number of the corpus


class Targets(NamedTuple):
    """The target lengths that were drawn: one a row, or one a document that has rows (reference mode)."""

    drawn: int
    short: int  # of those, below the length of a row


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
    source = _Source(
        token_offsets,
        np.append(document_offsets[named], len(sentences)),
        documents.digests[named],
        documents.copies[named],
        documents.corpora[named],
    )
    planned = _plan(source, config, pass_number)
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


@dataclass(frozen=True)
class _Source:
    """`TokenizedDocuments` without empty sentences and documents."""

    token_offsets: NDArray[np.int64]  # [sentences + 1]
    document_offsets: NDArray[np.int64]  # [documents + 1]
    digests: NDArray[np.uint8]
    copies: NDArray[np.int64]
    corpora: NDArray[np.int64]


@dataclass(frozen=True)
class _Planned:
    """The rows of one pass, and figures about them; see `Pairs`."""

    rows: NDArray[np.void]
    targets: Targets
    tokens_cut: int
    drops: dict[str, int]
    repeated: int = 0


def _plan(source: _Source, config: PairingConfig, pass_number: int) -> _Planned:
    keys = document_keys(config.seed, source.digests, source.copies)
    if config.objective == "none":
        return _plan_single_segments(source, keys, config, pass_number)
    if config.objective == "nsp" and config.nsp_mode == "reference":
        return _plan_as_published(source, keys, config, pass_number)
    most_tokens = config.max_seq_length - SPECIAL_TOKENS_OF_A_PAIR
    offsets = (source.token_offsets, source.document_offsets)
    units = cut_into_units(*offsets, keys, np.uint64(pass_number), most_tokens // 2)
    plan = np.zeros(len(units.sentences), PLAN)  # each pair uses up a unit at least
    offsets = (units.token_offsets, units.document_offsets)
    rows, lone = plan_chunks(*offsets, keys, np.uint64(pass_number), most_tokens, config.short_seq_prob, plan)
    plan = plan[:rows]
    targets = Targets(rows, int(np.count_nonzero(plan["short"])))
    drops = {"one_sentence": lone}
    repeated = 0
    if config.objective == "sop":
        swap_segments(plan)
    else:
        exchanged = exchange_segments(plan, _rank_by_digest(source.digests, source.copies)[1], source.corpora)
        plan = exchanged.plan
        drops["no_other_document"] = exchanged.without_other
        repeated = exchanged.repeated
    tokens_cut = _tokens_cut(plan, units.token_offsets)
    for name in ("a", "b"):
        units.to_sentences(plan[name])
    return _Planned(plan, targets, tokens_cut, drops, repeated)


def _plan_as_published(source: _Source, keys: NDArray[np.uint64], config: PairingConfig, pass_number: int) -> _Planned:
    plan = np.zeros(len(source.token_offsets) - 1, PLAN)  # each pair uses up a sentence at least
    ranks = _rank_by_digest(source.digests, source.copies)
    how = (np.uint64(pass_number), config.max_seq_length - SPECIAL_TOKENS_OF_A_PAIR, config.short_seq_prob)
    offsets = (source.token_offsets, source.document_offsets)
    rows, without_other, lone = plan_reference_pairs(*offsets, keys, *ranks, *how, plan)
    plan = plan[:rows]
    of_short = np.unique(plan["a"]["document"][plan["short"]])
    targets = Targets(len(np.unique(plan["a"]["document"])), len(of_short))
    drops = {"no_other_document": without_other, "lone_sentence": lone}
    return _Planned(plan, targets, _tokens_cut(plan, source.token_offsets), drops)


def _plan_single_segments(
    source: _Source, keys: NDArray[np.uint64], config: PairingConfig, pass_number: int
) -> _Planned:
    how = (np.uint64(pass_number), config.max_seq_length - SPECIAL_TOKENS_OF_ONE_SEGMENT, config.short_seq_prob)
    offsets = (source.token_offsets, source.document_offsets)
    plan = np.zeros(plan_full_sentences(*offsets, keys, *how, np.zeros(0, PLAN)), PLAN)
    plan_full_sentences(*offsets, keys, *how, plan)
    return _Planned(plan, Targets(len(plan), int(np.count_nonzero(plan["short"]))), 0, {})


def _tokens_cut(plan: NDArray[np.void], token_offsets: NDArray[np.int64]) -> int:
    """Return the tokens that the segments' whole sentences or units have and the segments have not."""
    return sum(
        int((token_offsets[plan[name]["end"]] - token_offsets[plan[name]["first"]] - plan[name]["tokens"]).sum())
        for name in ("a", "b")
    )


def _rank_by_digest(
    digests: NDArray[np.uint8], copies: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the documents sorted by digest and copy, and for each document the range of that order with its digest."""
    words = np.ascontiguousarray(digests).view(">u8")
    order = np.lexsort((copies, *words.T[::-1]))
    differs = (words[order][1:] != words[order][:-1]).any(axis=1)
    starts = np.flatnonzero(np.append(True, differs)) if len(order) else order
    lengths = np.diff(np.append(starts, len(order)))
    first, last = np.empty_like(order), np.empty_like(order)
    first[order] = np.repeat(starts, lengths)
    last[order] = np.repeat(starts + lengths, lengths)
    return order, first, last


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
