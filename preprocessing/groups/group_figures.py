"""The figures of a group: its statistics, and the part of each corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from configs.schema import RowsConfig
from preprocessing.dataset import CorpusFigures, PassLosses, Statistics
from preprocessing.rows import FOLLOWS, RANDOM, EncodedDocument, Pairs, TokenizedDocuments
from preprocessing.vocabulary import CLS, SEP, Vocabulary


def statistics_of(
    documents: Sequence[EncodedDocument], pairs: Pairs, config: RowsConfig, vocabulary: Vocabulary
) -> Statistics:
    """Return the statistics of a group's documents, and of the rows of its first training pass."""
    token_counts = np.bincount(pairs.input_ids, minlength=len(vocabulary))
    token_counts[[vocabulary.id_of(CLS), vocabulary.id_of(SEP)]] = 0  # added by the pairs, not part of the text
    return Statistics(
        documents=len(documents),
        sentences=sum(int(np.count_nonzero(document.sentence_lengths)) for document in documents),
        text_bytes=sum(document.text_bytes for document in documents),
        held_out_documents=sum(document.split == "held_out" for document in documents),
        random_next_pairs=int(pairs.next_sentence_label.sum()),
        forced_random_pairs=int((pairs.forced & (pairs.next_sentence_label == RANDOM)).sum()),
        forced_following_pairs=int((pairs.forced & (pairs.next_sentence_label == FOLLOWS)).sum()),
        repeated_pairs=pairs.repeated,
        drawn_targets=pairs.targets.drawn,
        short_targets=pairs.targets.short,
        length_histogram=np.bincount(np.diff(pairs.input_offsets), minlength=config.max_seq_length + 1).tolist(),
        token_counts=token_counts.tolist(),
        chars=sum(document.characters[0] for document in documents),
        unknown_chars=sum(document.characters[1] for document in documents),
        overlong_chars=sum(document.characters[2] for document in documents),
    )


class StatisticsSum:
    """The field-wise sum of the statistics of groups."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}

    def add(self, statistics: Statistics) -> None:
        """Add the statistics of a group."""
        for name in Statistics.model_fields:
            value = np.asarray(getattr(statistics, name), np.int64)
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def total(self) -> Statistics:
        """Return the sum over at least one group."""
        return Statistics(**{name: value.tolist() for name, value in self._sums.items()})


def figures_by_corpus(
    documents: Sequence[EncodedDocument], training: TokenizedDocuments, pairs: Pairs
) -> Iterator[CorpusFigures]:
    """Yield the figures of each corpus that has a document in the group. `pairs` are made of `training`."""
    a_tokens = pairs.segment_a_length.astype(np.int64) - 2
    b_tokens = np.maximum(np.diff(pairs.input_offsets) - a_tokens - 3, 0)
    of_a, of_b = training.corpora[pairs.a_document], training.corpora[pairs.b_document]
    for corpus in sorted({document.corpus for document in documents}):
        own = [document for document in documents if document.corpus == corpus]
        yield CorpusFigures(
            corpus=corpus,
            documents=len(own),
            held_out_documents=sum(document.split == "held_out" for document in own),
            text_bytes=sum(document.text_bytes for document in own),
            rows=int(np.count_nonzero(of_a == corpus)),
            tokens=int(a_tokens[of_a == corpus].sum() + b_tokens[of_b == corpus].sum()),
            chars=sum(document.characters[0] for document in own),
            unknown_chars=sum(document.characters[1] for document in own),
            overlong_chars=sum(document.characters[2] for document in own),
        )


def add_losses(losses: Iterable[PassLosses]) -> list[PassLosses]:
    """Return the sums over groups: one for each split and pass, in order."""
    sums: dict[tuple[int, int], PassLosses] = {}
    for one in losses:
        key = (one.split == "held_out", one.pass_number)
        sums[key] = sums[key] + one if key in sums else one
    return [sums[key] for key in sorted(sums)]


def add_corpora(figures: Iterable[CorpusFigures]) -> list[CorpusFigures]:
    """Return the sums over groups: one for each corpus, in order."""
    sums: dict[int, CorpusFigures] = {}
    for one in figures:
        sums[one.corpus] = sums[one.corpus] + one if one.corpus in sums else one
    return [sums[corpus] for corpus in sorted(sums)]
