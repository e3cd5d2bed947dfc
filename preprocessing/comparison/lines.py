"""Boilerplate: the lines that appear in many of the documents that are kept.

    lines of a block, counted ─► by part of the hashes ─► frequent lines of a part ─► all frequent lines

Duplicates are dropped before, so that the lines of a duplicate text do not count as boilerplate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from preprocessing.comparison.compared import Comparison, Visit, file_name
from preprocessing.comparison.fingerprints import Fingerprints
from preprocessing.comparison.keyed import begins, part_of, records_of
from preprocessing.comparison.regions import RegionWriter
from preprocessing.comparison.sealed_files import damaged, read_array, write_array
from preprocessing.comparison.verdicts import KEPT, causes
from preprocessing.comparison.words import Hashes, is_among

DEALT, FREQUENT, FOUND = "lines-dealt", "lines-frequent", "lines-found"
_COUNT = np.dtype([("key", "<u8"), ("documents", "<u8")])
_LINE = np.dtype("<u8")


def deal_lines(comparison: Comparison, block: int, visit: Visit, kinds: Sequence[str]) -> None:
    """Write the lines of the block's documents and how many documents have each, by part.

    Documents that the files of these kinds drop are left out.
    """
    is_kept = causes(comparison, block, visit, kinds) == KEPT
    parts = comparison.layout.line_parts
    with RegionWriter(parts, _COUNT) as writer:
        for start, prints in comparison.fingerprints(block):
            visit()
            lines = _lines_once(prints, is_kept[start : start + len(prints)])
            hashes, counts = np.unique(lines, return_counts=True)
            writer.add(part_of(hashes, parts), records_of(_COUNT, key=hashes, documents=counts))
        writer.write(comparison.files, file_name(DEALT, block))


def count_lines(comparison: Comparison, part: int, visit: Visit) -> None:
    """Write the lines of a part that appear in at least `boilerplate_documents` documents, sorted."""
    records = comparison.collected(DEALT, comparison.layout.blocks, part, _COUNT, visit)
    records = records[np.argsort(records["key"])]
    firsts = np.flatnonzero(begins(records))
    sums = np.add.reduceat(records["documents"], firsts) if len(records) else records["documents"]
    frequent = records["key"][firsts[sums >= comparison.config.boilerplate_documents]]
    with RegionWriter(1, _LINE) as writer:
        writer.add(np.zeros(len(frequent), np.int64), frequent)
        writer.write(comparison.files, file_name(FREQUENT, part))


def gather_lines(comparison: Comparison, unit: int, visit: Visit) -> None:
    """Write the frequent lines of all parts as one sorted array."""
    lines = comparison.collected(FREQUENT, comparison.layout.line_parts, 0, _LINE, visit)
    write_array(comparison.files, file_name(FOUND, unit), lines)


def read_found_lines(comparison: Comparison) -> Hashes:
    """Return the frequent lines, sorted; none if the recipe does not search for them."""
    if comparison.config.boilerplate_documents is None:
        return np.zeros(0, np.uint64)
    lines: Hashes | None = read_array(comparison.files, file_name(FOUND, 0))
    if lines is None:
        raise damaged(comparison.files, file_name(FOUND, 0))
    return lines


def is_left(prints: Fingerprints, boilerplate: Hashes) -> NDArray[np.bool_]:
    """Return for each line whether it is no boilerplate."""
    return ~is_among(prints.lines, boilerplate)


def _lines_once(prints: Fingerprints, is_kept: NDArray[np.bool_]) -> Hashes:
    """Return the lines of kept documents, each once per document."""
    lengths = np.diff(prints.line_offsets)
    documents = np.repeat(np.arange(len(prints)), lengths)
    chosen = np.repeat(is_kept, lengths)
    lines, documents = prints.lines[chosen], documents[chosen]
    order = np.lexsort((lines, documents))
    lines, documents = lines[order], documents[order]
    is_new = np.ones(len(lines), np.bool_)
    is_new[1:] = (lines[1:] != lines[:-1]) | (documents[1:] != documents[:-1])
    return lines[is_new]
