"""Measure how many rows per second one core reads into batches: `python -m tests.benchmarks.loader`.

The benchmark writes a synthetic data set (ragged rows of up to 128 tokens, 90 % of them full) and reads one epoch of
it as a single rank does. `pyarrow.Table.take` reads the same rows in the same order. Rates are rows per CPU-second,
since the core can be shared. Beside the loader, it times the deal of a step to 64 ranks, the reading of the held-out
rows, and the staging of all shards. The last line is one JSON object.

Long rows, a fifth of them full, in micro-batches that their tokens bound:

    python -m tests.benchmarks.loader --sequence 8192 --full-share 0.2 --rows 1000 --global-batch-size 512 \\
        --micro-batch-tokens 65536
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from preprocessing.dataset.manifest import Manifest
from pretrain.data.dataset import Dataset
from pretrain.data.deal import deal
from pretrain.data.loader import HeldOut, Loader
from pretrain.data.staging import StagingArea
from tests.pretrain.synthetic import write_dataset

VOCABULARY = 30_522
MIB = 1 << 20
RANKS, DEALS = 64, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--rows", type=int, default=50_000, help="rows per shard")
    parser.add_argument("--global-batch-size", type=int, default=4096)
    parser.add_argument("--micro-batch-size", type=int, default=64)
    parser.add_argument("--micro-batch-tokens", type=int, default=0)
    parser.add_argument("--sequence", type=int, default=128, help="tokens of the longest row")
    parser.add_argument("--full-share", type=float, default=0.9, help="share of the rows that are so long")
    parser.add_argument("--reference-steps", type=int, default=5)
    arguments = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "dataset"
        manifest = write_dataset(
            folder,
            [[arguments.rows] * arguments.shards],
            [arguments.rows],
            vocabulary_size=VOCABULARY,
            max_seq_length=arguments.sequence,
            full_share=arguments.full_share,
        )
        print(json.dumps(measure(folder, manifest, arguments) | measure_others(folder, manifest, arguments)))


def measure_others(folder: Path, manifest: Manifest, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the figures of the deal, the held-out rows and the staging."""
    limits = (arguments.micro_batch_size, arguments.micro_batch_tokens)
    lengths = new_loader(folder, manifest, arguments).step(0, arguments.global_batch_size).lengths
    deal(lengths, RANKS, *limits)  # compile
    began = time.process_time()
    for _ in range(DEALS):
        homes, accumulation = deal(lengths, RANKS, *limits)
    deal_ms = (time.process_time() - began) / DEALS * 1e3
    tokens_of = np.bincount(homes, weights=lengths, minlength=RANKS * accumulation)
    began, tokens = time.process_time(), 0
    held_out = HeldOut(
        Dataset(str(folder), manifest),
        max_rows=arguments.rows,
        rank=0,
        world_size=1,
        micro_batch_size=limits[0],
        micro_batch_tokens=limits[1],
    )
    for step in held_out.steps():
        tokens += step.tokens
    held_out_s = time.process_time() - began
    stage = StagingArea(folder.parent / "staged", 1 << 40)
    staged = Dataset(str(folder), manifest, stage)
    began = time.process_time()
    for entry in manifest.shards:
        stage.path(staged.stored(entry))
    staging_s = time.process_time() - began
    return {
        "deal_ms": round(deal_ms, 3),
        "deal_ranks": RANKS,
        "deal_micro_steps": accumulation,
        "deal_fullest_micro_batch_tokens": int(tokens_of.max()),
        "held_out_tokens_per_s": round(tokens / held_out_s),
        "staged_mib_per_s": round(sum(entry.bytes for entry in manifest.shards) / MIB / staging_s),
    }


def measure(folder: Path, manifest: Manifest, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the benchmark's figures. The data set's pages must be in memory."""
    batch = arguments.global_batch_size
    loader = new_loader(folder, manifest, arguments)
    loader.step(0, batch)  # compile, check digests
    rates, memory_mib, tokens = [], [], 0
    for cursor in range(0, arguments.shards * arguments.rows - batch + 1, batch):
        began = time.process_time()
        step = loader.step(cursor, batch)
        tokens += step.tokens
        rates.append(batch / (time.process_time() - began))
        memory_mib.append(anonymous_mib())
    rows_per_s = float(len(rates) / np.sum(1 / np.array(rates)))
    reference = reference_rate(folder, manifest, loader, batch, arguments.reference_steps)
    began = time.perf_counter()
    new_loader(folder, manifest, arguments).step(10**6 * batch, batch)
    start_s = time.perf_counter() - began
    return {
        "benchmark": "loader",
        "ratio": round(rows_per_s / reference, 1),
        "reference": f"pyarrow.Table.take: {reference:.0f} rows per CPU-second",
        "rows_per_s": round(rows_per_s),
        "rows_per_s_median_step": round(float(np.median(rates))),
        "tokens_per_s": round(rows_per_s * tokens / (len(rates) * batch)),
        "tokens_per_row": round(tokens / (len(rates) * batch), 1),
        "micro_batches_per_step": len(step.batches),
        "start_at_step_1000000_s": round(start_s, 3),
        "epoch_rows": len(rates) * batch,
        "memory_mib": [round(memory_mib[place * (len(memory_mib) - 1) // 4], 1) for place in range(5)],
        "global_batch_size": batch,
        "micro_batch_size": arguments.micro_batch_size,
        "micro_batch_tokens": arguments.micro_batch_tokens,
    }


def new_loader(folder: Path, manifest: Manifest, arguments: argparse.Namespace) -> Loader:
    """One rank's loader with the recipe's window."""
    return Loader(
        [Dataset(str(folder), manifest)],
        seed=0,
        shuffle_window_rows=1 << 20,
        rank=0,
        world_size=1,
        micro_batch_size=arguments.micro_batch_size,
        micro_batch_tokens=arguments.micro_batch_tokens,
    )


def reference_rate(folder: Path, manifest: Manifest, loader: Loader, batch: int, steps: int) -> float:
    """Rows a CPU-second of `Table.take` over the memory-mapped shards, the same rows in the same order."""
    entries = manifest.select("train", 0)
    starts = np.cumsum([0, *(entry.rows for entry in entries)])
    tables = [pa.ipc.open_file(pa.memory_map(str(folder / entry.name))).read_all() for entry in entries]
    table = pa.concat_tables(tables)
    began = time.process_time()
    for step in range(steps):
        shards, rows = loader.order.rows(step * batch, batch)
        table.take(pa.array(starts[shards] + rows))
    return float(steps * batch / (time.process_time() - began))


def anonymous_mib() -> float:
    """Resident memory of this process without the mapped files."""
    memory = psutil.Process().memory_info()
    return float(memory.rss - memory.shared) / MIB


if __name__ == "__main__":
    main()
