"""Synthetic fingerprints: files as the cleaning stage writes them, without texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from configs.schema import CleaningConfig
from preprocessing.comparison.compared import Comparison
from preprocessing.comparison.fingerprints import fingerprint_schema
from preprocessing.comparison.layout import Source, lay_out
from preprocessing.comparison.minhash import PERMUTATIONS
from preprocessing.comparison.sealed_files import write_sealed
from preprocessing.comparison.steps import comparison_steps
from preprocessing.storage import Store


def write_source(
    work: Store,
    name: str,
    config: CleaningConfig,
    digests: NDArray[np.uint64],
    lines: Sequence[NDArray[np.uint64]] = (),
    signatures: NDArray[np.uint32] | None = None,
    batch: int = 1 << 12,
) -> Source:
    """Write a file of fingerprints in batches. `digests` is [documents, 2]; document N has the number 2 N."""
    schema = fingerprint_schema(config)
    with write_sealed(work, name) as stream, pa.ipc.new_stream(stream, schema) as writer:
        for start in range(0, len(digests), batch):
            some = slice(start, start + batch)
            numbers = 2 * np.arange(start, start + len(digests[some]), dtype=np.uint32)
            columns = [pa.array(numbers), pa.array(digests[some, 0]), pa.array(digests[some, 1])]
            if "lines" in schema.names:
                columns.append(pa.array([each.tolist() for each in lines[some]], pa.list_(pa.uint64())))
            if signatures is not None and "signature" in schema.names:
                columns.append(pa.FixedSizeListArray.from_arrays(signatures[some].reshape(-1), PERMUTATIONS))
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return Source(name, f"drops-{name}.npy", len(digests), sum(map(len, lines)))


def compare_here(config: CleaningConfig, work: Store, sources: Sequence[Source]) -> Comparison:
    """Make all units of all steps in this process."""
    comparison = Comparison(config, work, lay_out(sources, work))
    for step in comparison_steps(comparison):
        for unit in range(step.units):
            assert not step.is_made(comparison, unit)
            step.make(comparison, unit, lambda: None)
            assert step.is_made(comparison, unit)
    return comparison
