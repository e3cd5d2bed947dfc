"""What every step of the comparison works on: the blocks' fingerprints, and the files that steps exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import CleaningConfig
from preprocessing.comparison.fingerprints import Fingerprints, read_fingerprints
from preprocessing.comparison.layout import Layout, Source, sources_of
from preprocessing.comparison.regions import RegionWriter, read_region
from preprocessing.storage import Store

Visit = Callable[[], None]  # called often; can raise to stop the work


@dataclass(frozen=True)
class Comparison:
    """The comparison of all documents of a cleaned corpus."""

    config: CleaningConfig
    work: Store  # the working folder, with the fingerprints
    layout: Layout

    @cached_property
    def files(self) -> Store:
        """The folder of the files that the steps exchange."""
        return self.work.below(self.layout.folder)

    def sources(self, block: int) -> list[Source]:
        """Return the sources of a block."""
        return sources_of(self.files, block)

    def fingerprints(self, block: int) -> Iterator[tuple[int, Fingerprints]]:
        """Yield the fingerprints of a block in batches, each with the place of its first document in the block."""
        place = 0
        for source in self.sources(block):
            for prints in read_fingerprints(self.work, source.fingerprints):
                yield place, prints
                place += len(prints)

    def indexes(self, block: int, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the indexes of documents, given their places in a block."""
        return (places + self.layout.starts[block]).astype(np.uint64)

    def batches(
        self, kind: str, units: int, region: int, record: np.dtype[Any], visit: Visit
    ) -> Iterator[NDArray[Any]]:
        """Yield what all units of an earlier step have for one region, in the order of the units."""
        for unit in range(units):
            visit()
            yield from read_region(self.files, file_name(kind, unit), region, record)

    def collected(self, kind: str, units: int, region: int, record: np.dtype[Any], visit: Visit) -> NDArray[Any]:
        """Return what `batches` yields as one array."""
        return np.concatenate([np.zeros(0, record), *self.batches(kind, units, region, record, visit)])

    def by_block(self, kind: str, unit: int, documents: NDArray[np.uint64], records: NDArray[Any]) -> None:
        """Write records for the blocks of these documents."""
        with RegionWriter(self.layout.blocks, records.dtype) as writer:
            writer.add(self.layout.block_of(documents), records)
            writer.write(self.files, file_name(kind, unit))


def file_name(kind: str, unit: int) -> str:
    """Return the name of the file that a unit of a step writes."""
    return f"{kind}-{unit:05}"
