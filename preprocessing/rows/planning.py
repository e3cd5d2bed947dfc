"""The rows of one pass as ranges of tokens: each objective and mode has its planner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.schema import PairingConfig
from preprocessing.rows.chunks import cut_rows, plan_chunks, plan_full_sentences, swap_segments
from preprocessing.rows.negatives import exchange_segments
from preprocessing.rows.randomness import document_keys
from preprocessing.rows.reference_pairs import plan_reference_pairs
from preprocessing.rows.segments import PLAN
from preprocessing.rows.units import cut_into_units

SPECIAL_TOKENS_OF_A_PAIR = 3  # [CLS] A [SEP] B [SEP]
SPECIAL_TOKENS_OF_ONE_SEGMENT = 2  # [CLS] text [SEP]


class Targets(NamedTuple):
    """The target lengths that were drawn: one a row, or one a document that has rows (reference mode)."""

    drawn: int
    short: int  # of those, below the length of a row


@dataclass(frozen=True)
class Source:
    """Tokenised documents without empty sentences and documents."""

    token_offsets: NDArray[np.int64]  # [sentences + 1]
    document_offsets: NDArray[np.int64]  # [documents + 1]
    digests: NDArray[np.uint8]
    copies: NDArray[np.int64]
    corpora: NDArray[np.int64]
    languages: NDArray[np.int64]


@dataclass(frozen=True)
class Planned:
    """The rows of one pass, and figures about them; see `Pairs`."""

    rows: NDArray[np.void]
    targets: Targets
    tokens_cut: int
    drops: dict[str, int]
    repeated: int = 0


def plan_rows(source: Source, config: PairingConfig, pass_number: int) -> Planned:
    """Return all rows of one pass over the documents, without their tokens."""
    keys = document_keys(config.seed, source.digests, source.copies)
    if config.objective == "none":
        return _plan_single_segments(source, keys, config, pass_number)
    if config.objective == "nsp" and config.nsp_mode == "reference":
        return _plan_as_published(source, keys, config, pass_number)
    return _plan_chunks_of_units(source, keys, config, pass_number)


def _plan_chunks_of_units(source: Source, keys: NDArray[np.uint64], config: PairingConfig, pass_number: int) -> Planned:
    number, most_tokens = np.uint64(pass_number), config.max_seq_length - SPECIAL_TOKENS_OF_A_PAIR
    units = cut_into_units(source.token_offsets, source.document_offsets, keys, number, most_tokens // 2)
    plan = np.zeros(len(units.sentences), PLAN)  # each pair uses up a unit at least
    rows, lone = plan_chunks(
        units.token_offsets, units.document_offsets, keys, number, most_tokens, config.short_seq_prob, plan
    )
    plan = plan[:rows]
    targets = Targets(rows, int(np.count_nonzero(plan["short"])))
    drops, repeated = {"one_sentence": lone}, 0
    if config.objective == "sop":
        cut_rows(plan, most_tokens)
        swap_segments(plan)
    else:
        classes = _rank_by_digest(source.digests, source.copies)[1]
        exchanged = exchange_segments(plan, classes, (source.corpora, source.languages), most_tokens)
        plan, repeated = exchanged.plan, exchanged.repeated
        drops["no_other_document"] = exchanged.without_other
    tokens_cut = _tokens_cut(plan, units.token_offsets)
    for name in ("a", "b"):
        units.to_sentences(plan[name])
    return Planned(plan, targets, tokens_cut, drops, repeated)


def _plan_as_published(source: Source, keys: NDArray[np.uint64], config: PairingConfig, pass_number: int) -> Planned:
    plan = np.zeros(len(source.token_offsets) - 1, PLAN)  # each pair uses up a sentence at least
    ranks = _rank_by_digest(source.digests, source.copies)
    rows, without_other, lone = plan_reference_pairs(
        source.token_offsets,
        source.document_offsets,
        keys,
        *ranks,
        np.uint64(pass_number),
        config.max_seq_length - SPECIAL_TOKENS_OF_A_PAIR,
        config.short_seq_prob,
        plan,
    )
    plan = plan[:rows]
    of_short = np.unique(plan["a"]["document"][plan["short"]])
    targets = Targets(len(np.unique(plan["a"]["document"])), len(of_short))
    drops = {"no_other_document": without_other, "lone_sentence": lone}
    return Planned(plan, targets, _tokens_cut(plan, source.token_offsets), drops)


def _plan_single_segments(source: Source, keys: NDArray[np.uint64], config: PairingConfig, pass_number: int) -> Planned:
    number, most_tokens = np.uint64(pass_number), config.max_seq_length - SPECIAL_TOKENS_OF_ONE_SEGMENT

    def fill(plan: NDArray[np.void]) -> int:
        offsets = (source.token_offsets, source.document_offsets)
        return plan_full_sentences(*offsets, keys, number, most_tokens, config.short_seq_prob, plan)

    plan = np.zeros(fill(np.zeros(0, PLAN)), PLAN)
    fill(plan)
    return Planned(plan, Targets(len(plan), int(np.count_nonzero(plan["short"]))), 0, {})


def _tokens_cut(plan: NDArray[np.void], token_offsets: NDArray[np.int64]) -> int:
    """Return how many tokens more the segments' whole sentences or units have."""
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
