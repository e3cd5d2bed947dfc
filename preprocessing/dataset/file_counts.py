"""What became of the documents of one input file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import Field

from preprocessing.dataset.figures import Count, ManifestEntry

T = TypeVar("T", "Lost", int)


class Lost(ManifestEntry):
    """Documents that one cause dropped."""

    documents: Count = 0
    bytes: Count = 0  # of the documents as they were read

    def __add__(self, other: Lost) -> Lost:
        return Lost(documents=self.documents + other.documents, bytes=self.bytes + other.bytes)


class FileCounts(ManifestEntry):
    """The documents of an input file that were read, dropped by cause, and repaired by cause."""

    documents: Count = 0  # read, dropped ones included; a very long document counts as its parts
    read_bytes: Count = 0  # of the documents as they were read: decompressed, with their markup
    dropped: dict[str, Lost] = Field(default_factory=dict)
    repaired: dict[str, Count] = Field(default_factory=dict)  # documents with at least one repair

    @property
    def kept(self) -> int:
        """The number of documents that are in the data set."""
        return self.documents - sum(lost.documents for lost in self.dropped.values())

    def __add__(self, other: FileCounts) -> FileCounts:
        return FileCounts(
            documents=self.documents + other.documents,
            read_bytes=self.read_bytes + other.read_bytes,
            dropped=_sums(self.dropped, other.dropped, Lost()),
            repaired=_sums(self.repaired, other.repaired, 0),
        )


def _sums(one: Mapping[str, T], other: Mapping[str, T], nothing: T) -> dict[str, T]:
    return {cause: one.get(cause, nothing) + other.get(cause, nothing) for cause in sorted({*one, *other})}
