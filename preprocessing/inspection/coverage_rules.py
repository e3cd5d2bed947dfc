"""Rules about what is lost, checked with provenance: the rows hold as many word pieces as the manifest says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from preprocessing.dataset import MANIFEST, Manifest, Provenance, Rows, ShardEntry
from preprocessing.inspection.shard_checks import Failure

_Ints = NDArray[np.int64]
_DOCUMENT_BITS = 32  # of a token's place: a document has fewer tokens than 2³²
_ANY = "any"


class CoverageRules:
    """Counts the pieces in rows by split and pass. Holds the segments of one group: shards are added group by group."""

    def __init__(self) -> None:
        self._group = ""
        self._segments: defaultdict[tuple[str, int], list[_Ints]] = defaultdict(list)  # of the group
        self._documents: NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._pieces: defaultdict[tuple[str, int | str], int] = defaultdict(int)
        self._is_counted = True  # all shards have the columns

    def add(self, rows: Rows, shard: ShardEntry) -> None:
        """Add the segments of a shard."""
        origin = rows.provenance
        if origin is None or origin.a_start is None or origin.b_start is None:
            self._is_counted = False
            return
        if shard.group != self._group:
            self._finish_group()
            self._group = shard.group
        self._segments[shard.split, shard.pass_number].append(self._places(rows, origin))

    def check(self, manifest: Manifest) -> Iterator[Failure]:
        """Check the pieces in rows of each pass, and of all passes of the training split."""
        if not self._is_counted or not manifest.losses:
            return
        self._finish_group()
        for one in manifest.losses:
            stated = one.pieces - one.in_no_row.cut - one.in_no_row.no_pair
            found = self._pieces[one.split, one.pass_number]
            yield from _difference(f"losses of {one.split} pass {one.pass_number} match the rows", stated, found)
        lost = manifest.in_no_row.cut + manifest.in_no_row.no_pair
        stated = next((one.pieces for one in manifest.losses if one.split == "train"), lost) - lost
        yield from _difference("in_no_row matches the rows of all passes", stated, self._pieces["train", _ANY])

    def _places(self, rows: Rows, origin: Provenance) -> _Ints:
        """Return each segment's document, first place and end in it; [3, segments]."""
        a_tokens = rows.segment_a_length.astype(np.int64) - 2
        b_tokens = np.maximum(np.diff(rows.input_offsets) - a_tokens - 3, 0)
        names = np.concatenate([origin.a_document, origin.b_document])
        self._documents = np.union1d(self._documents, names)
        starts = np.concatenate([origin.a_start, origin.b_start]).astype(np.int64)
        ends = starts + np.concatenate([a_tokens, b_tokens])
        return np.stack([names.view(np.int64), starts, ends])

    def _finish_group(self) -> None:
        """Count the pieces of the group's segments."""
        by_split: defaultdict[str, list[_Ints]] = defaultdict(list)
        for (split, number), segments in self._segments.items():
            self._pieces[split, number] += self._count(segments)
            by_split[split] += segments
        for split, segments in by_split.items():
            self._pieces[split, _ANY] += self._count(segments)
        self._segments.clear()
        self._documents = np.zeros(0, np.uint64)

    def _count(self, segments: list[_Ints]) -> int:
        """Return the number of distinct pieces in segments."""
        names, starts, ends = np.concatenate(segments, axis=1)
        base = np.searchsorted(self._documents, names.view(np.uint64)) << _DOCUMENT_BITS
        order = np.argsort(base + starts)
        starts, ends = (base + starts)[order], (base + ends)[order]
        before = np.append(0, np.maximum.accumulate(ends)[:-1])
        return int(np.maximum(0, ends - np.maximum(starts, before)).sum())


def _difference(rule: str, stated: int, found: int) -> Iterator[Failure]:
    if stated != found:
        yield Failure(MANIFEST, rule, value=f"{stated:,} word pieces in rows, but the rows have {found:,}")
