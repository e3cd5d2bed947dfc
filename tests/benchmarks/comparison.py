"""Measure the comparison of documents alone, on synthetic fingerprints: the constants of its cost model.

    python -m tests.benchmarks.comparison --documents 100000000 [--duplicates exact|near] [--boilerplate-lines 0]

Writes fingerprints as the cleaning stage does (a tenth of the documents repeat another one), then makes every unit of
every step in this process, one after another. Prints for each step its time, and the bytes that it writes; `peak_mib`
is the peak memory of the process, and `exchanged_bytes_a_document` the disk that the comparison takes beside the
fingerprints. `ratio` is the CPU time per document of a comparison of an eighth of the documents over that of all:
1 if the cost is linear. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs.schema import DataConfig
from preprocessing.comparison.compared import Comparison
from preprocessing.comparison.fingerprints import fingerprint_schema
from preprocessing.comparison.layout import Source, lay_out
from preprocessing.comparison.minhash import PERMUTATIONS
from preprocessing.comparison.sealed_files import write_sealed
from preprocessing.comparison.steps import ComparisonStep, comparison_steps
from preprocessing.storage.local_store import LocalStore

FILE_DOCUMENTS = 40_000  # as many as 64 MB of text hold
BATCH = 4_000
REPEATED = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--duplicates", choices=("exact", "near"), default="exact")
    parser.add_argument("--boilerplate-lines", type=int, default=0, help="lines a document; 0: no search")
    parser.add_argument("--folder", help="where to put the files; by default in TMPDIR")
    arguments = parser.parse_args()
    config = DataConfig.model_validate(
        {
            "duplicates": arguments.duplicates,
            "boilerplate_documents": 100 if arguments.boilerplate_lines else None,
        }
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        small = measure(config, arguments.documents // 8, arguments.boilerplate_lines, Path(folder) / "small")
        large = measure(config, arguments.documents, arguments.boilerplate_lines, Path(folder) / "large")
    ratio = small["cpu_us_a_document"] / large["cpu_us_a_document"]  # type: ignore[operator]
    result = {"benchmark": "comparison", "ratio": round(ratio, 3), "reference": "an eighth of the documents"}
    print(json.dumps({**result, "small": small, "large": large, "load": os.getloadavg()[0]}))


def measure(config: DataConfig, documents: int, lines: int, folder: Path) -> dict[str, object]:
    """Compare synthetic documents. Return the figures."""
    folder.mkdir()
    work = LocalStore(folder)
    sources = [
        write_source(work, number, min(FILE_DOCUMENTS, documents - start), lines, config)
        for number, start in enumerate(range(0, documents, FILE_DOCUMENTS))
    ]
    fingerprints = size_of(folder)
    began, cpu = time.monotonic(), time.process_time()
    comparison = Comparison(config, work, lay_out(sources, work))
    steps = {step.kind: made(comparison, step) for step in comparison_steps(comparison)}
    cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - began
    dropped = sum(len(np.load(folder / source.drops)) for source in sources)
    exchanged = size_of(folder / "comparison")
    shutil.rmtree(folder)
    return {
        "documents": documents,
        "dropped": dropped,
        "blocks": comparison.layout.blocks,
        "parts": comparison.layout.parts,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "cpu_us_a_document": round(1e6 * cpu_s / documents, 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "fingerprint_gb": round(fingerprints / 1e9, 2),
        "exchanged_gb": round(exchanged / 1e9, 2),
        "exchanged_bytes_a_document": round(exchanged / documents, 1),
        "steps": steps,
    }


def made(comparison: Comparison, step: ComparisonStep) -> dict[str, float]:
    """Make all units of a step. Return its units, CPU seconds and bytes written."""
    before, cpu = size_of(Path(comparison.files.place)), time.process_time()
    for unit in range(step.units):
        step.make(comparison, unit, lambda: None)
    spent = time.process_time() - cpu
    written = size_of(Path(comparison.files.place)) - before
    name, units = step.kind, step.units
    print(f"{name}: {units} units, {spent:.1f} CPU-seconds, {written / 1e6:,.0f} MB", file=sys.stderr, flush=True)
    return {"units": units, "cpu_s": round(spent, 1), "mb": round(written / 1e6)}


def write_source(work: LocalStore, number: int, documents: int, lines: int, config: DataConfig) -> Source:
    """Write the fingerprints of a file. Its last documents repeat those of an earlier file: their digests or, in a
    search for near duplicates, their signatures.
    """
    schema, name = fingerprint_schema(config), f"fingerprints-{number:06}.arrow"
    is_near = "signature" in schema.names
    repeated = round(documents * REPEATED) if number else 0
    own, other, fresh = (np.random.default_rng(seed) for seed in ((0, number), (0, number // 2), (1, number)))
    with write_sealed(work, name) as stream, pa.ipc.new_stream(stream, schema) as writer:
        for start in range(0, documents, BATCH):
            count = min(BATCH, documents - start)
            copied = other if documents - start <= repeated else own
            digests = (fresh if is_near else copied).integers(0, 1 << 64, (count, 2), np.uint64)
            columns = [pa.array(np.arange(start, start + count, dtype=np.uint32)), *map(pa.array, digests.T.copy())]
            if "lines" in schema.names:
                hashes = np.minimum(fresh.zipf(1.3, count * lines), 1 << 62).astype(np.uint64)
                hashes *= np.uint64(0x9E3779B97F4A7C15)
                offsets = np.arange(0, count * lines + 1, lines, dtype=np.int32)
                columns.append(pa.ListArray.from_arrays(offsets, hashes))
            if is_near:
                signatures = copied.integers(0, 1 << 32, count * PERMUTATIONS, np.uint32)
                columns.append(pa.FixedSizeListArray.from_arrays(signatures, PERMUTATIONS))
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return Source(name, f"drops-{number:06}.npy", documents, documents * lines)


def size_of(folder: Path) -> int:
    """Return the bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
