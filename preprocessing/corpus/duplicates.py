"""Find duplicate documents and boilerplate lines. The driver does this from fingerprints only.

    exact duplicates ─► near duplicates ─► boilerplate lines of the rest ─► exact duplicates without boilerplate

Of equal documents, the first in the corpus's order is kept. A document is a near duplicate if it is similar to an
earlier document in the same bucket of a band. Lines are counted over the kept documents, so that the lines of a
duplicate text do not count as boilerplate. Memory grows with the corpus by only one byte per document.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import CleaningConfig
from preprocessing.corpus.cleaned_files import CleanedEntry, read_entry, read_fingerprints
from preprocessing.corpus.external_sort import ExternalSort, Numbers, begins, repetitions
from preprocessing.corpus.fingerprints import Fingerprints
from preprocessing.corpus.minhash import PERMUTATIONS, Signatures, are_similar, band_keys, bands
from preprocessing.corpus.words import Hashes, is_among
from preprocessing.corpus.working_files import BOILERPLATE, drops_name
from preprocessing.documents import Plan, WorkItem
from preprocessing.storage import Store

CAUSES = ("", "exact_duplicate", "near_duplicate")
_KEPT, _EXACT, _NEAR = range(3)
_ROWS = 1 << 14  # signatures to compare at a time


def is_decided(work: Store) -> bool:
    """Return whether the search for duplicates and boilerplate is complete."""
    return work.size(BOILERPLATE) is not None


def decide(plan: Plan, config: CleaningConfig, work: Store) -> None:
    """Find duplicates and boilerplate in a corpus whose items are all cleaned, and write the results to `work`."""
    comparison = _Comparison(plan, config, work)
    if config.duplicates != "none":
        comparison.drop_exact(np.zeros(0, np.uint64))
    if config.duplicates == "near":
        comparison.drop_near()
    boilerplate = np.zeros(0, np.uint64)
    if config.boilerplate_documents is not None:
        boilerplate = comparison.find_boilerplate(config.boilerplate_documents)
        if len(boilerplate) and config.duplicates != "none":
            comparison.drop_exact(boilerplate)
    comparison.write_drops()
    with work.write(BOILERPLATE) as stream:
        np.save(stream, boilerplate)


def read_drops(item: WorkItem, work: Store) -> dict[int, str]:
    """Return the dropped documents of the item: their numbers in it, and the causes."""
    return {number: CAUSES[cause] for number, cause in _read_array(drops_name(item), work).tolist()}


def read_boilerplate(work: Store) -> Hashes:
    """Return the hashes of the lines to remove, sorted."""
    return _read_array(BOILERPLATE, work)


def decisions_digest(item: WorkItem, boilerplate: Hashes, work: Store) -> str:
    """Return a digest of everything that the comparison of all documents changes in the item's text."""
    content = work.read(drops_name(item))
    assert content is not None, "all items are compared"
    return hashlib.sha256(content + boilerplate.tobytes()).hexdigest()


@dataclass(frozen=True)
class _Comparison:
    """The state of the comparison. A document's index is its position among all compared documents."""

    plan: Plan
    config: CleaningConfig
    work: Store

    @cached_property
    def entries(self) -> list[CleanedEntry]:
        """The counts of each item's files."""
        return [read_entry(item, self.work) for item in self.plan.items]

    @cached_property
    def causes(self) -> NDArray[np.uint8]:
        """For each document, the index in `CAUSES` of the cause to drop it."""
        return np.zeros(sum(entry.compared for entry in self.entries), np.uint8)

    def drop_exact(self, boilerplate: Hashes) -> None:
        """Drop documents that equal an earlier one after boilerplate lines are removed."""
        with ExternalSort(len(self.causes)) as sorting:
            for start, prints in self._fingerprints():
                digests = _digests_without(prints, boilerplate) if len(boilerplate) else prints.digests
                has_text = _has_lines(prints, boilerplate) if len(boilerplate) else np.ones(len(prints), np.bool_)
                places = np.flatnonzero((self.causes[start : start + len(prints)] == _KEPT) & has_text)
                sorting.add(digests[places, 0], digests[places, 1], (places + start).astype(np.uint64))
            for records in sorting.parts():
                later, _ = repetitions(records)
                self.causes[later] = _EXACT

    def drop_near(self) -> None:
        """Drop documents that are similar to the first document in one of their buckets, kept or not."""
        with tempfile.TemporaryFile() as file:
            for _, prints in self._fingerprints():
                file.write(prints.signatures.tobytes())
            file.flush()
            if not len(self.causes):
                return
            signatures: Signatures = np.memmap(file, np.uint32, "r", shape=(len(self.causes), PERMUTATIONS))
            for band in bands(self.config.near_duplicate_threshold):
                self._drop_near_in(band, signatures)

    def find_boilerplate(self, documents: int) -> Hashes:
        """Return the hashes of the lines that appear in at least `documents` kept documents, sorted."""
        found: list[Hashes] = [np.zeros(0, np.uint64)]
        with ExternalSort(sum(entry.lines for entry in self.entries)) as sorting:
            for start, prints in self._fingerprints():
                is_kept = self.causes[start : start + len(prints)] == _KEPT
                hashes, counts = np.unique(_lines_once(prints, is_kept), return_counts=True)
                sorting.add(hashes, 0, counts.astype(np.uint64))
            for records in sorting.parts():
                firsts = np.flatnonzero(begins(records))
                sums = np.add.reduceat(records["document"], firsts) if len(records) else records["document"]
                found.append(records["key"][firsts[sums >= documents]])
        return np.concatenate(found)

    def write_drops(self) -> None:
        """Write the list of dropped documents of each item."""
        ends = np.cumsum([entry.compared for entry in self.entries])
        for item, causes in zip(self.plan.items, np.split(self.causes, ends[:-1]), strict=True):
            drops = np.zeros((0, 2), np.uint32)
            if causes.any():
                numbers = np.concatenate([prints.numbers for prints in read_fingerprints(item, self.work)])
                drops = np.stack([numbers, causes], axis=1)[causes != _KEPT]
            with self.work.write(drops_name(item)) as stream:
                np.save(stream, drops)

    def _drop_near_in(self, band: slice, signatures: Signatures) -> None:
        is_compared = self.causes != _EXACT
        with ExternalSort(len(self.causes)) as sorting:
            for start in range(0, len(signatures), _ROWS):
                places = start + np.flatnonzero(is_compared[start : start + _ROWS])
                sorting.add(band_keys(signatures[places], band), 0, places.astype(np.uint64))
            for records in sorting.parts():
                later, first = repetitions(records)
                for begin in range(0, len(later), _ROWS):
                    some, others = later[begin : begin + _ROWS], first[begin : begin + _ROWS]
                    similar = are_similar(signatures[some], signatures[others], self.config.near_duplicate_threshold)
                    self.causes[some[similar]] = _NEAR

    def _fingerprints(self) -> Iterator[tuple[int, Fingerprints]]:
        """Yield batches of all fingerprints in the plan's order, each with the index of its first document."""
        start = 0
        for item in self.plan.items:
            for prints in read_fingerprints(item, self.work):
                yield start, prints
                start += len(prints)


def _lines_once(prints: Fingerprints, is_kept: NDArray[np.bool_]) -> Numbers:
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


def _digests_without(prints: Fingerprints, boilerplate: Hashes) -> NDArray[np.uint64]:
    """Return a digest of each document's remaining lines; uint64 [documents, 2]."""
    is_left = ~is_among(prints.lines, boilerplate)
    digests = bytearray()
    for start, end in zip(prints.line_offsets[:-1].tolist(), prints.line_offsets[1:].tolist(), strict=True):
        left = prints.lines[start:end][is_left[start:end]]
        digests += hashlib.blake2b(left.tobytes(), digest_size=16).digest()
    return np.frombuffer(bytes(digests), "<u8").reshape(-1, 2)


def _has_lines(prints: Fingerprints, boilerplate: Hashes) -> NDArray[np.bool_]:
    """Return for each document whether it has lines without boilerplate."""
    is_left = np.append(0, np.cumsum(~is_among(prints.lines, boilerplate)))
    return np.asarray(is_left[prints.line_offsets[1:]] > is_left[prints.line_offsets[:-1]])


def _read_array(name: str, work: Store) -> NDArray[Any]:
    content = work.read(name)
    assert content is not None, "all items are compared"
    array: NDArray[Any] = np.load(io.BytesIO(content))
    return array
