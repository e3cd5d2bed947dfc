"""Tokenised documents to pairs of segments A and B: BERT's published algorithm (Devlin et al. 2019, appendix A.2).

Whole sentences of a document are gathered into a chunk until it holds the target length. The chunk is cut in two
between sentences: A, and what follows it. Half the time, and always for a chunk of one sentence, B is taken from
another document instead, and the chunk's unused sentences go back. What is too long for a row is cut from the longer
segment, at its front or back by the toss of a coin for each token. Some documents aim at a shorter, random length.

Mended beside Google's script: the other document is always another one, and has another digest, so the label is
always right; and it is drawn from the same group, so memory is bounded. Numbers are drawn from a key of the seed, the
document's digest, its copy and the pass: pairs hang on the set of documents alone, not on their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.compiled import compiled
from preprocessing.contract import IntArray, VocabularyEntry
from preprocessing.randomness import State, absorb, document_keys, draw_below, draw_fraction

SPECIAL_TOKENS_OF_A_PAIR = 3  # [CLS] A [SEP] B [SEP]
FOLLOWS, RANDOM = 0, 1  # next_sentence_label

# A pair before its tokens are copied: segments as ranges of tokens, and of the sentences that they were cut from.
_RANGES = [f"{segment}_{bound}" for segment in "ab" for bound in ("start", "tokens", "document", "first", "end")]
_PLAN = np.dtype([*((name, np.int64) for name in _RANGES), ("label", "u1"), ("short", "?"), ("key", "u8")])


@dataclass(frozen=True)
class TokenizedDocuments:
    """The documents of one group and split. Sentences and documents may be empty; they are passed over."""

    ids: IntArray  # word pieces of all sentences, one behind another
    sentence_offsets: NDArray[np.int64]  # [sentences + 1], into ids
    document_offsets: NDArray[np.int64]  # [documents + 1], into sentences
    digests: NDArray[np.uint8]  # [documents, 32], SHA-256 of the cleaned text
    copies: NDArray[np.int64]  # [documents], tells equal documents apart


@dataclass(frozen=True)
class Pairs:
    """Rows without masks, and where they come from. Documents and sentences are numbered as in `TokenizedDocuments`."""

    input_ids: IntArray  # [CLS] A [SEP] B [SEP] of all rows, one behind another
    input_offsets: NDArray[np.int64]  # [rows + 1]
    segment_a_length: NDArray[np.uint16]  # [rows], [CLS] and the first [SEP] included
    next_sentence_label: NDArray[np.uint8]  # [rows]
    short: NDArray[np.bool_]  # [rows], whether the row aimed at a shorter length
    keys: NDArray[np.uint64]  # [rows], of seed, document, copy and the row's number in it: for its masks
    a_document: NDArray[np.int64]  # [rows], and so below: the whole sentences that a segment was cut from
    a_first_sentence: NDArray[np.int64]
    a_sentences: NDArray[np.int64]
    b_document: NDArray[np.int64]
    b_first_sentence: NDArray[np.int64]
    b_sentences: NDArray[np.int64]
    no_other_document: int  # documents for which there was none to take a random B from
    dropped_chunks: int  # chunks of one sentence in such documents: no pair can be made of them

    def __len__(self) -> int:
        return len(self.segment_a_length)


def make_pairs(
    documents: TokenizedDocuments, config: DataConfig, vocabulary: VocabularyEntry, pass_number: int
) -> Pairs:
    """All pairs of one pass over the documents, in the documents' order."""
    if config.objective != "nsp":
        cause = f"pairs for the objective `{config.objective}` cannot be made yet"
        raise UserError(cause, place="data.objective", mend="set it to nsp")
    sentences = np.flatnonzero(np.diff(documents.sentence_offsets))
    token_offsets = np.append(documents.sentence_offsets[sentences], documents.sentence_offsets[-1])
    document_offsets = np.searchsorted(sentences, documents.document_offsets)
    named = np.flatnonzero(np.diff(document_offsets))
    document_offsets = np.append(document_offsets[named], len(sentences))
    digests, copies = documents.digests[named], documents.copies[named]
    plan = np.zeros(len(sentences), _PLAN)  # each pair uses up a sentence at least
    rows, lonely, dropped = _plan_pairs(
        token_offsets,
        document_offsets,
        document_keys(config.seed, digests, copies),
        *_rank_by_digest(digests, copies),
        np.uint64(pass_number),
        config.max_seq_length - SPECIAL_TOKENS_OF_A_PAIR,
        config.short_seq_prob,
        plan,
    )
    plan = plan[:rows]
    input_ids, input_offsets = _copy_tokens(documents.ids, plan, vocabulary.cls_id, vocabulary.sep_id)
    return Pairs(
        input_ids=input_ids,
        input_offsets=input_offsets,
        segment_a_length=(plan["a_tokens"] + 2).astype(np.uint16),
        next_sentence_label=plan["label"].copy(),
        short=plan["short"].copy(),
        keys=plan["key"].copy(),
        a_document=named[plan["a_document"]],
        a_first_sentence=sentences[plan["a_first"]],
        a_sentences=sentences[plan["a_end"] - 1] + 1 - sentences[plan["a_first"]],
        b_document=named[plan["b_document"]],
        b_first_sentence=sentences[plan["b_first"]],
        b_sentences=sentences[plan["b_end"] - 1] + 1 - sentences[plan["b_first"]],
        no_other_document=lonely,
        dropped_chunks=dropped,
    )


def _rank_by_digest(
    digests: NDArray[np.uint8], copies: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The documents sorted by digest and copy, and for each document the range of that order which has its digest."""
    words = np.ascontiguousarray(digests).view(">u8")
    order = np.lexsort((copies, *words.T[::-1]))
    differs = (words[order][1:] != words[order][:-1]).any(axis=1)
    starts = np.flatnonzero(np.append(True, differs)) if len(order) else order
    lengths = np.diff(np.append(starts, len(order)))
    first, last = np.empty_like(order), np.empty_like(order)
    first[order] = np.repeat(starts, lengths)
    last[order] = np.repeat(starts + lengths, lengths)
    return order, first, last


@compiled
def _plan_pairs(
    token_offsets: NDArray[np.int64],
    document_offsets: NDArray[np.int64],
    keys: NDArray[np.uint64],
    order: NDArray[np.int64],
    first_equal: NDArray[np.int64],
    last_equal: NDArray[np.int64],
    pass_number: np.uint64,
    most_tokens: int,
    short_seq_prob: float,
    plan: NDArray[np.void],
) -> tuple[int, int, int]:
    """Fill `plan`; returns its rows, the documents without another one, and the chunks that were dropped for that."""
    state = np.empty(1, np.uint64)
    rows = lonely = dropped = 0
    for document in range(len(document_offsets) - 1):
        state[0] = absorb(keys[document], pass_number)
        short = draw_fraction(state) < short_seq_prob
        target = 2 + draw_below(state, most_tokens - 1) if short else most_tokens
        others = len(order) - (last_equal[document] - first_equal[document])
        lonely += others == 0
        first_row = rows
        sentence, end = document_offsets[document], document_offsets[document + 1]
        while sentence < end:
            chunk_end = _reach(token_offsets, sentence, end, target)
            alone = chunk_end == sentence + 1
            if alone and others == 0:
                dropped += 1
                sentence = chunk_end
                continue
            a_end = sentence + 1 + (0 if alone else draw_below(state, chunk_end - sentence - 1))
            random = others > 0 and (alone or draw_fraction(state) < 0.5)
            b_document, b_first, b_end = document, a_end, chunk_end
            if random:
                rank = draw_below(state, others)
                b_document = order[rank if rank < first_equal[document] else rank + len(order) - others]
                b_first, b_last = document_offsets[b_document], document_offsets[b_document + 1]
                b_first += draw_below(state, b_last - b_first)
                wanted = target - (token_offsets[a_end] - token_offsets[sentence])
                b_end = _reach(token_offsets, b_first, b_last, wanted)
            pair = plan[rows]
            pair["a_document"], pair["a_first"], pair["a_end"] = document, sentence, a_end
            pair["b_document"], pair["b_first"], pair["b_end"] = b_document, b_first, b_end
            pair["label"], pair["short"] = RANDOM if random else FOLLOWS, short
            pair["key"] = absorb(keys[document], np.uint64(rows - first_row))
            _cut_to_length(state, token_offsets, most_tokens, pair)
            rows += 1
            sentence = a_end if random else chunk_end
    return rows, lonely, dropped


@compiled
def _reach(token_offsets: NDArray[np.int64], first: int, last: int, tokens: int) -> int:
    """The end of the fewest whole sentences from `first` on, one at least, that hold so many tokens; at most `last`."""
    end = first + 1
    while end < last and token_offsets[end] - token_offsets[first] < tokens:
        end += 1
    return end


@compiled
def _cut_to_length(state: State, token_offsets: NDArray[np.int64], most_tokens: int, pair: np.void) -> None:
    """Set the ranges of tokens: of the longer segment, one is dropped at its front or back until both fit."""
    a_start, a_end = token_offsets[pair["a_first"]], token_offsets[pair["a_end"]]
    b_start, b_end = token_offsets[pair["b_first"]], token_offsets[pair["b_end"]]
    while (a_end - a_start) + (b_end - b_start) > most_tokens:
        front = draw_below(state, 2)
        if a_end - a_start > b_end - b_start:
            a_start += front
            a_end -= 1 - front
        else:
            b_start += front
            b_end -= 1 - front
    pair["a_start"], pair["a_tokens"] = a_start, a_end - a_start
    pair["b_start"], pair["b_tokens"] = b_start, b_end - b_start


@compiled
def _copy_tokens(ids: IntArray, plan: NDArray[np.void], cls_id: int, sep_id: int) -> tuple[IntArray, NDArray[np.int64]]:
    """`[CLS] A [SEP] B [SEP]` of all pairs, one behind another, and their offsets."""
    offsets = np.zeros(len(plan) + 1, np.int64)
    for row in range(len(plan)):
        offsets[row + 1] = offsets[row] + plan[row]["a_tokens"] + plan[row]["b_tokens"] + SPECIAL_TOKENS_OF_A_PAIR
    rows = np.empty(offsets[-1], ids.dtype)
    for row in range(len(plan)):
        place = offsets[row]
        rows[place] = cls_id
        place = _copy(ids, plan[row]["a_start"], plan[row]["a_tokens"], rows, place + 1)
        rows[place] = sep_id
        place = _copy(ids, plan[row]["b_start"], plan[row]["b_tokens"], rows, place + 1)
        rows[place] = sep_id
    return rows, offsets


@compiled
def _copy(ids: IntArray, start: int, tokens: int, rows: IntArray, place: int) -> int:
    """Copy tokens to `rows[place:]` and return the place behind them; a loop compiles four times as fast as slices."""
    for token in range(tokens):
        rows[place + token] = ids[start + token]
    return place + tokens
