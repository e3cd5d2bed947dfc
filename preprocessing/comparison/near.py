"""Near duplicates: documents that are similar to the first document in one of their buckets, kept or not.

    signatures of a block ─► by band and part of its keys ─► candidates: a document, and the first in its bucket
    block of the first ones ─► their signatures ─► block of the later ones ─► comparison

A signature travels once from its block to each block that compares with it, and only if it is the first in a bucket.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from configs.files import explain_write_errors
from preprocessing.comparison.compared import Comparison, Visit, file_name
from preprocessing.comparison.keyed import Numbers, Records, distinct, part_of, records_of, repetitions
from preprocessing.comparison.minhash import PERMUTATIONS, Signatures, are_similar, band_keys, bands
from preprocessing.comparison.regions import RegionWriter
from preprocessing.comparison.verdicts import DOCUMENT, EXACT_FOUND, KEPT, NEAR_FOUND, causes

DEALT, WANTED, CANDIDATES, SENT = "near-dealt", "near-wanted", "near-candidates", "near-sent"
_KEY = np.dtype([("key", "<u8"), ("document", "<u8")])
_WANTED = np.dtype([("first", "<u8"), ("block", "<u4")])  # the block that compares with the first document of a bucket
_CANDIDATE = np.dtype([("first", "<u8"), ("later", "<u8")])
_SIGNED = np.dtype([("first", "<u8"), ("signature", "<u4", (PERMUTATIONS,))])
_ROWS = 1 << 14  # signatures to compare at a time
_MOST_WAITING = 1 << 22  # records, before repetitions are removed


def key_parts(comparison: Comparison) -> int:
    """Return the number of parts of the keys of all bands. A part belongs to one band."""
    return comparison.layout.parts * len(bands(comparison.config.near_duplicate_threshold))


def deal_bands(comparison: Comparison, block: int, visit: Visit) -> None:
    """Write the keys of the block's documents in each band, by part. Exact duplicates are left out."""
    parts, slices = comparison.layout.parts, bands(comparison.config.near_duplicate_threshold)
    is_compared = causes(comparison, block, visit, [EXACT_FOUND]) == KEPT
    with RegionWriter(parts * len(slices), _KEY) as writer:
        for start, prints in comparison.fingerprints(block):
            places = np.flatnonzero(is_compared[start : start + len(prints)])
            documents = comparison.indexes(block, start + places)
            for number, band in enumerate(slices):
                visit()
                keys = band_keys(prints.signatures[places], band)
                writer.add(number * parts + part_of(keys, parts), records_of(_KEY, key=keys, document=documents))
        writer.write(comparison.files, file_name(DEALT, block))


def match_keys(comparison: Comparison, part: int, visit: Visit) -> None:
    """Write the candidates of a part, by the later document's block, and what these blocks want, by the first one's."""
    records = comparison.collected(DEALT, comparison.layout.blocks, part, _KEY, visit)
    later, first = repetitions(records[np.argsort(records["key"], kind="stable")])
    wanted = distinct(records_of(_WANTED, first=first, block=comparison.layout.block_of(later)))
    comparison.by_block(WANTED, part, wanted["first"], wanted)
    comparison.by_block(CANDIDATES, part, later, records_of(_CANDIDATE, first=first, later=later))


def send_signatures(comparison: Comparison, block: int, visit: Visit) -> None:
    """Write the signatures of the block's documents that other blocks, or this one, want; by the block that does."""
    wanted = _distinct(comparison, WANTED, block, _WANTED, visit)
    with RegionWriter(comparison.layout.blocks, _SIGNED) as writer:
        for start, prints in comparison.fingerprints(block) if len(wanted) else ():
            visit()
            begin = comparison.layout.starts[block] + start
            bounds = np.searchsorted(wanted["first"], np.array([begin, begin + len(prints)], np.uint64))
            some = wanted[slice(*bounds)]
            signatures = prints.signatures[some["first"].astype(np.int64) - begin]
            writer.add(some["block"].astype(np.int64), records_of(_SIGNED, first=some["first"], signature=signatures))
        writer.write(comparison.files, file_name(SENT, block))


def compare_signatures(comparison: Comparison, block: int, visit: Visit) -> None:
    """Write the block's documents that are similar to one of their candidates."""
    candidates = _distinct(comparison, CANDIDATES, block, _CANDIDATE, visit)
    later, place = np.unique(candidates["later"], return_inverse=True)
    is_similar = np.zeros(len(candidates), np.bool_)
    with _signatures(comparison, block, later, visit) as own:
        for firsts, signatures in _sent(comparison, block, visit) if len(candidates) else ():
            begin, _ = np.searchsorted(candidates["first"], firsts[[0, -1]])
            _, end = np.searchsorted(candidates["first"], firsts[[0, -1]], side="right")
            for start in range(begin, end, _ROWS):
                some = slice(start, min(start + _ROWS, end))
                others = signatures[np.searchsorted(firsts, candidates["first"][some])]
                threshold = comparison.config.near_duplicate_threshold
                is_similar[some] = are_similar(own[place[some]], others, threshold)
    found = np.unique(candidates["later"][is_similar])
    with RegionWriter(1, DOCUMENT) as writer:
        writer.add(np.zeros(len(found), np.int64), found)
        writer.write(comparison.files, file_name(NEAR_FOUND, block))


def _distinct(comparison: Comparison, kind: str, block: int, record: np.dtype[Any], visit: Visit) -> Records:
    """Return what all parts have for a block, sorted and without repetitions: a pair can be in several bands."""
    found = np.zeros(0, record)
    for records in comparison.batches(kind, key_parts(comparison), block, record, visit):
        found = np.concatenate([found, records])
        if len(found) > _MOST_WAITING:
            found = distinct(found)
    return distinct(found)


def _sent(comparison: Comparison, block: int, visit: Visit) -> Iterator[tuple[Numbers, Signatures]]:
    """Yield the documents whose signatures were sent to a block, sorted, and these signatures; in batches."""
    for signed in comparison.batches(SENT, comparison.layout.blocks, block, _SIGNED, visit):
        yield np.ascontiguousarray(signed["first"]), signed["signature"]


@contextmanager
def _signatures(comparison: Comparison, block: int, documents: Numbers, visit: Visit) -> Iterator[Signatures]:
    """Yield the signatures of some of a block's documents, which lie in a temporary file."""
    with tempfile.TemporaryFile() as file:
        for start, prints in comparison.fingerprints(block) if len(documents) else ():
            visit()
            begin = comparison.layout.starts[block] + start
            bounds = np.searchsorted(documents, np.array([begin, begin + len(prints)], np.uint64))
            places = documents[slice(*bounds)].astype(np.int64) - begin
            with explain_write_errors(Path(tempfile.gettempdir())):
                file.write(prints.signatures[places].tobytes())
                file.flush()
        shape = (len(documents), PERMUTATIONS)
        yield np.memmap(file, np.uint32, "r", shape=shape) if len(documents) else np.zeros(shape, np.uint32)
