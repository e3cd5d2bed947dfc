"""Encoding with any tokenizer beside Hugging Face's `encode_batch_fast`, on one core, and whether the ids are the same.

    python -m tests.benchmarks.tokenising --corpus PATH [PATH ...] --tokenizer tokenizer.json [--lines 100000]

Each path is a text file, or a folder of them; the lines are taken evenly from all paths. The encoder starts cold: with
no span cached. A byte-level BPE of 32,000 entries is trained on the lines if there is no tokenizer.json yet.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

from configs.schema import VocabularyConfig
from preprocessing.vocabulary import encoder_of, read_vocabulary, train_byte_level_bpe

SIZE = 32_000
BATCH = 1000  # lines a call
Result = TypeVar("Result")


def main() -> None:
    """Run the benchmark; the last line printed is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=100_000)
    arguments = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    of_each = arguments.lines // len(arguments.corpus)
    lines = [line for path in arguments.corpus for line in islice(_lines(path), of_each)]
    config = VocabularyConfig(kind="tokenizer", size=SIZE)
    if not arguments.tokenizer.exists():
        train_byte_level_bpe(lines, config).write(arguments.tokenizer)
    print(json.dumps(measure(lines, arguments.tokenizer, config)))


def measure(lines: list[str], tokenizer: Path, config: VocabularyConfig) -> dict[str, object]:
    """Encode the lines with both, and return what the benchmark prints."""
    vocabulary = read_vocabulary(tokenizer, config)
    encoder_of(vocabulary).encode(lines[:BATCH])  # compiles
    reference = vocabulary.tokenizer()
    reference.encode_special_tokens = True
    megabytes = sum(len(line.encode()) + 1 for line in lines) / 1e6
    encoder = encoder_of(vocabulary)
    ours_s, encoded = _timed(encoder.encode, lines)
    warm_s, _ = _timed(encoder.encode, lines)
    ours = [ids[start:end].tolist() for ids, ends, _ in encoded for start, end in pairwise(ends.tolist())]
    theirs_s, encodings = _timed(lambda batch: reference.encode_batch_fast(batch, add_special_tokens=False), lines)
    theirs = [one.ids for batch in encodings for one in batch]
    return {
        "benchmark": "tokenising",
        "ratio": round(theirs_s / ours_s, 2),
        "reference": "tokenizers' encode_batch_fast on one core",
        "lines": len(lines),
        "MB": round(megabytes, 1),
        "different_lines": sum(mine != other for mine, other in zip(ours, theirs, strict=True)),
        "MB_per_s": {
            "ours_cold": round(megabytes / ours_s, 1),
            "ours_warm": round(megabytes / warm_s, 1),
            "reference": round(megabytes / theirs_s, 1),
        },
        "bytes_per_token": round(1e6 * megabytes / max(1, sum(map(len, ours))), 2),
    }


def _timed(encode: Callable[[list[str]], Result], lines: list[str]) -> tuple[float, list[Result]]:
    """Return the CPU-seconds of encoding the lines in batches, and the results."""
    results, seconds = [], 0.0
    for start in range(0, len(lines), BATCH):
        batch = lines[start : start + BATCH]
        began = time.process_time()
        results.append(encode(batch))
        seconds += time.process_time() - began
    return seconds, results


def _lines(path: Path) -> Iterator[str]:
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open(encoding="utf-8", errors="replace") as stream:
                yield from (line.strip() for line in stream if line.strip())


if __name__ == "__main__":
    main()
