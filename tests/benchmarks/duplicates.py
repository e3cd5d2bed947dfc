"""Measure the search for near duplicates: its time with one worker and two, and its memory at two sizes.

    python -m tests.benchmarks.duplicates --size-mb 1000 [--workers 2] [--without-one-worker]

A synthetic corpus of `--size-mb`, and one of a quarter of it, is cleaned and compared (`data.duplicates = "near"`): a
tenth of the documents are near duplicates of others, and a twentieth are equal to others. Each preparation runs in its
own process, which is sampled ten times per second together with its workers, and ends before the first group. `ratio`
is the wall time of one worker over that of `--workers`, and is valid on an idle machine only. `memory_ratio`, the
driver's peak memory at the full size over that at a quarter, is valid on a busy machine too. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil

from configs.schema import DataConfig
from tests.benchmarks.preparation_scale import watch

FILE_MB = 25
LINES, WORDS_A_LINE, LINES_A_DOCUMENT = 20_000, 45, 6
NEAR, EXACT = 0.10, 0.05
REMEMBERED = 10_000
SMALL_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

PROGRAM = """
import sys
from configs.schema import DataConfig
from preprocessing.pipeline import prepare
def stop(progress):
    if progress.stage == "groups":
        raise KeyboardInterrupt
try:
    prepare(DataConfig.model_validate_json(sys.argv[1]), progress=stop)
except KeyboardInterrupt:
    pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mb", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--without-one-worker", action="store_true", help="measure the memory only")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(arguments, Path(temporary))))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the benchmark's figures."""
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join([*SMALL_VOCABULARY, *map(chr, range(97, 123))]) + "\n")
    corpus = folder / "corpus"
    write_corpus(corpus, arguments.size_mb)
    runs = {"quarter": compared(sorted(corpus.iterdir()), 4, folder, arguments.workers)}
    runs["full"] = compared(sorted(corpus.iterdir()), 1, folder, arguments.workers)
    ratio = None
    if not arguments.without_one_worker:
        runs["one_worker"] = compared(sorted(corpus.iterdir()), 1, folder, 1)
        ratio = round(runs["one_worker"]["wall_s"] / runs["full"]["wall_s"], 3)
    memory = runs["full"]["driver_peak_mib"] / runs["quarter"]["driver_peak_mib"]
    result = {"benchmark": "duplicates", "ratio": ratio, "reference": "one worker", "memory_ratio": round(memory, 3)}
    return {**result, **runs, "load": os.getloadavg()[0]}


def write_corpus(folder: Path, size_mb: int) -> None:
    """Write files of `FILE_MB`, whose documents are `LINES_A_DOCUMENT` lines out of `LINES` and one of their own."""
    folder.mkdir()
    numbers = random.Random(1)
    words = ["".join(numbers.choices("abcdefghijklmnopqrstuvwxyz", k=numbers.randint(2, 9))) for _ in range(20_000)]
    lines = [" ".join(numbers.choices(words, k=WORDS_A_LINE)) + "." for _ in range(LINES)]
    earlier = ["a"]
    for number in range(max(4, size_mb // FILE_MB)):
        documents: list[str] = []
        size = 0
        while size < FILE_MB * 1e6:
            kind = numbers.random()
            text = numbers.choice(earlier)
            if kind > NEAR + EXACT:
                text = "\n".join([*numbers.choices(lines, k=LINES_A_DOCUMENT), f"{number} {len(documents)}."])
                remember(earlier, text, numbers)
            elif kind > EXACT:
                text = f"{numbers.choice(words)} {text}"
            documents.append(text)
            size += len(text) + 2
        (folder / f"{number:03}.txt").write_text("\n\n".join(documents) + "\n")


def remember(earlier: list[str], text: str, numbers: random.Random) -> None:
    """Keep some earlier texts, of which duplicates are made."""
    if len(earlier) < REMEMBERED:
        earlier.append(text)
    else:
        earlier[numbers.randrange(REMEMBERED)] = text


def compared(files: list[Path], divisor: int, folder: Path, workers: int) -> dict[str, float]:
    """Compare the documents of a part of the files. Return the time, and the peak memory of the driver and a worker."""
    dataset = folder / "dataset"
    config = DataConfig.model_validate(
        {
            "dataset": str(dataset),
            "corpora": [{"paths": list(map(str, files[: len(files) // divisor])), "format": "text"}],
            "workers": workers,
            "duplicates": "near",
            "vocabulary": {"file": str(folder / "vocab.txt")},
        }
    )
    began = time.monotonic()
    process = psutil.Popen(
        [sys.executable, "-c", PROGRAM, config.model_dump_json()], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seen = watch(process)
    wall_s = time.monotonic() - began
    if process.wait():
        raise SystemExit("the preparation failed")
    exchanged = sum(file.stat().st_size for file in (dataset / ".prepare/comparison").rglob("*") if file.is_file())
    shutil.rmtree(dataset)
    cpu_s = sum(usage.cpu_s for usage in seen.values())
    driver = seen.pop(process.pid)
    return {
        "input_mb": round(sum(file.stat().st_size for file in files[: len(files) // divisor]) / 1e6),
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "driver_peak_mib": round(driver.peak_bytes / 2**20, 1),
        "worker_peak_mib": round(max((usage.peak_bytes for usage in seen.values()), default=0) / 2**20, 1),
        "exchanged_mb": round(exchanged / 1e6),
    }


if __name__ == "__main__":
    main()
