"""What the comparison decides about the documents of a block: the cause to drop each, and the lists for its sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from preprocessing.comparison.compared import Comparison, Visit, file_name
from preprocessing.comparison.fingerprints import read_fingerprints
from preprocessing.comparison.regions import read_region
from preprocessing.comparison.sealed_files import write_array

CAUSES = ("", "exact_duplicate", "near_duplicate")
KEPT, EXACT, NEAR = range(3)
DOCUMENT = np.dtype("<u8")

EXACT_FOUND, REST_FOUND = "exact-found", "rest-found"  # of a part of the keys: the documents to drop, by block
NEAR_FOUND = "near-found"  # of a block: its documents to drop
DECIDED = "decided"  # of a block: its lists are written


def causes(comparison: Comparison, block: int, visit: Visit, kinds: Sequence[str]) -> NDArray[np.uint8]:
    """Return the index in `CAUSES` of the cause to drop each document of the block, by the files of these kinds."""
    found = np.zeros(comparison.layout.documents(block), np.uint8)
    for kind in kinds:
        if kind == NEAR_FOUND:
            documents = np.concatenate(
                [np.zeros(0, DOCUMENT), *read_region(comparison.files, file_name(kind, block), 0, DOCUMENT)]
            )
        else:
            documents = comparison.collected(kind, comparison.layout.parts, block, DOCUMENT, visit)
        found[documents.astype(np.int64) - comparison.layout.starts[block]] = NEAR if kind == NEAR_FOUND else EXACT
    return found


def write_drops(comparison: Comparison, block: int, visit: Visit, kinds: Sequence[str]) -> None:
    """Write the list of dropped documents of each of the block's sources: their numbers, and the causes."""
    of_block = causes(comparison, block, visit, kinds)
    place = 0
    for source in comparison.sources(block):
        visit()
        of_source = of_block[place : place + source.documents]
        place += source.documents
        drops = np.zeros((0, 2), np.uint32)
        if of_source.any():
            prints = read_fingerprints(comparison.work, source.fingerprints)
            numbers = np.concatenate([batch.numbers for batch in prints])
            drops = np.stack([numbers, of_source], axis=1)[of_source != KEPT]
        write_array(comparison.work, source.drops, drops)
    comparison.files.write_text(file_name(DECIDED, block), "")


def forget_drops(comparison: Comparison) -> None:
    """Remove the marks that lists are written, so that a rerun writes them again."""
    for block in range(comparison.layout.blocks):
        comparison.files.remove(file_name(DECIDED, block))
