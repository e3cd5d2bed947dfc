"""Exact duplicates: of documents with equal digests, the first in the corpus's order is kept.

    digests of a block ─► by part of the digests ─► repetitions in a part ─► by block

After boilerplate is found, the documents that remain are compared again without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from preprocessing.comparison.compared import Comparison, Visit, file_name
from preprocessing.comparison.fingerprints import Fingerprints
from preprocessing.comparison.keyed import part_of, records_of, repetitions
from preprocessing.comparison.lines import is_left, read_found_lines
from preprocessing.comparison.regions import RegionWriter
from preprocessing.comparison.verdicts import KEPT, causes
from preprocessing.comparison.words import Hashes

DEALT, REST_DEALT = "exact-dealt", "rest-dealt"
_RECORD = np.dtype([("key", "<u8"), ("rest", "<u8"), ("document", "<u8")])


def deal_digests(comparison: Comparison, block: int, visit: Visit) -> None:
    """Write the digests of the block's documents, by part."""
    with RegionWriter(comparison.layout.parts, _RECORD) as writer:
        for start, prints in comparison.fingerprints(block):
            visit()
            _deal(comparison, block, writer, start + np.arange(len(prints)), prints.digests)
        writer.write(comparison.files, file_name(DEALT, block))


def deal_rest(comparison: Comparison, block: int, visit: Visit, kinds: Sequence[str]) -> None:
    """Write digests of what boilerplate leaves of the block's documents, by part.

    Documents that the files of these kinds drop, and those of boilerplate only, are left out. Without boilerplate, no
    document is compared again.
    """
    boilerplate = read_found_lines(comparison)
    with RegionWriter(comparison.layout.parts, _RECORD) as writer:
        if len(boilerplate):
            is_kept = causes(comparison, block, visit, kinds) == KEPT
            for start, prints in comparison.fingerprints(block):
                visit()
                places = np.flatnonzero(is_kept[start : start + len(prints)] & _has_lines(prints, boilerplate))
                _deal(comparison, block, writer, start + places, _digests_without(prints, boilerplate)[places])
        writer.write(comparison.files, file_name(REST_DEALT, block))


def match_digests(comparison: Comparison, part: int, visit: Visit, dealt: str, found: str) -> None:
    """Write the documents of a part whose digest an earlier document has, by block."""
    records = comparison.collected(dealt, comparison.layout.blocks, part, _RECORD, visit)
    later, _ = repetitions(records[np.lexsort((records["rest"], records["key"]))])
    comparison.by_block(found, part, later, later)


def _deal(
    comparison: Comparison, block: int, writer: RegionWriter, places: NDArray[np.int64], digests: NDArray[np.uint64]
) -> None:
    documents = comparison.indexes(block, places)
    records = records_of(_RECORD, key=digests[:, 0], rest=digests[:, 1], document=documents)
    writer.add(part_of(digests[:, 0], comparison.layout.parts), records)


def _digests_without(prints: Fingerprints, boilerplate: Hashes) -> NDArray[np.uint64]:
    """Return a digest of each document's remaining lines; uint64 [documents, 2]."""
    left = is_left(prints, boilerplate)
    digests = bytearray()
    for start, end in zip(prints.line_offsets[:-1].tolist(), prints.line_offsets[1:].tolist(), strict=True):
        digests += hashlib.blake2b(prints.lines[start:end][left[start:end]].tobytes(), digest_size=16).digest()
    return np.frombuffer(bytes(digests), "<u8").reshape(-1, 2)


def _has_lines(prints: Fingerprints, boilerplate: Hashes) -> NDArray[np.bool_]:
    """Return for each document whether it has lines without boilerplate."""
    counts = np.append(0, np.cumsum(is_left(prints, boilerplate)))
    return np.asarray(counts[prints.line_offsets[1:]] > counts[prints.line_offsets[:-1]])
