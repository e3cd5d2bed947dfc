"""Rules about documents, checked with provenance: a document is in one split, and in one group after deduplication."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from configs.schema import CleaningConfig
from preprocessing.dataset import SPLITS, Rows, ShardEntry
from preprocessing.inspection.shard_checks import ALL_SHARDS, Failure


class DocumentRules:
    """Collects the documents of all shards, about 8 bytes each, then finds those in more than one split or group."""

    def __init__(self) -> None:
        self._documents: defaultdict[tuple[str, str], list[NDArray[np.uint64]]] = defaultdict(list)

    def add(self, rows: Rows, shard: ShardEntry) -> None:
        """Add the documents of a shard of pass 0. A document's rows of other passes are in the same group."""
        if rows.provenance is not None and shard.pass_number == 0:
            both = [rows.provenance.a_document]
            both += [rows.provenance.b_document[rows.provenance.b_sentences > 0]]
            self._documents[shard.split, shard.group].append(np.unique(np.concatenate(both)))

    def check(self, config: CleaningConfig) -> Iterator[Failure]:
        """Check that no document is in both splits and, if duplicates are dropped, that none is in two groups."""
        train, held_out = (self._of_split(split) for split in SPLITS)
        yield from _failure("no document is in both splits", np.intersect1d(train, held_out))
        if config.duplicates != "none":
            for documents in (train, held_out):
                found, groups = np.unique(documents, return_counts=True)
                yield from _failure("no document is in two groups", found[groups > 1])

    def _of_split(self, split: str) -> NDArray[np.uint64]:
        """Return the documents of all groups of a split, concatenated."""
        parts = [part for (of, _), parts in sorted(self._documents.items()) if of == split for part in parts]
        return np.concatenate([np.zeros(0, np.uint64), *parts])


def _failure(rule: str, wrong: NDArray[np.uint64]) -> Iterator[Failure]:
    if len(wrong):
        yield Failure(ALL_SHARDS, rule, value=f"{len(wrong):,} are, such as {int(wrong[0]):016x}")
