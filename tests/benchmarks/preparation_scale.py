"""Measure how the cost of preparation depends on the amount of text and the number of workers.

    python -m tests.benchmarks.preparation_scale --corpus PATH --vocab PATH
    python -m tests.benchmarks.preparation_scale --corpus PATH --vocab PATH --part workers

The first command prepares WikiExtractor's files, then a corpus of `--copies` of them in which each document has its
own extra line. `ratio` is the CPU time per MB of the small corpus over that of the large one, both without start-up:
1 if the cost is linear, above 1 if words repeat, since they are encoded once. The second command prepares the large
corpus in `--passes` passes, with one worker and with `--workers`. `ratio` is the wall time of one worker over that of
several, and `wall_ratio` the inverse. Each preparation runs in its own process, which is sampled ten times per second
together with its workers. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from configs.schema import DataConfig
from preprocessing.documents.file_search import find_files

LOOK_EVERY_S = 0.1
END_OF_DOCUMENT = re.compile(rb"\n</doc>")

PROGRAM = """
import sys
from configs.schema import DataConfig
from preprocessing.pipeline import prepare
prepare(DataConfig.model_validate_json(sys.argv[1]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="WikiExtractor's files: a file, a folder or a glob")
    parser.add_argument("--vocab", required=True, help="a vocab.txt")
    parser.add_argument("--part", choices=("cost", "workers"), default="cost", help="what to measure")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--passes", type=int, default=5, help="passes in the part `workers`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(arguments, Path(temporary))))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the benchmark's figures. Code that numba compiles once per machine is compiled beforehand."""
    files = [Path(file.path) for file in find_files([arguments.corpus])]
    vocabulary = Path(arguments.vocab)
    start = [prepared(few_documents(folder / f"start-{n}"), folder, vocabulary) for n in range(2)][1]
    large = multiplied(files, folder / "large", arguments.copies)
    if arguments.part == "workers":
        alone = prepared(large, folder, vocabulary, passes=arguments.passes)
        together = prepared(large, folder, vocabulary, passes=arguments.passes, workers=arguments.workers)
        return {
            "benchmark": "preparation_workers",
            "ratio": round(alone["wall_s"] / together["wall_s"], 3),
            "reference": f"one worker, {arguments.passes} passes",
            "wall_ratio": round(together["wall_s"] / alone["wall_s"], 3),
            "one_worker": alone,
            f"{arguments.workers}_workers": together,
        }
    runs = [prepared(corpus, folder, vocabulary) for corpus in (multiplied(files, folder / "small", 1), large)]
    costs = [(each["cpu_s"] - start["cpu_s"]) / each["input_mb"] for each in runs]
    return {
        "benchmark": "preparation_scale",
        "ratio": round(costs[0] / costs[1], 3),
        "reference": f"a corpus {arguments.copies} times smaller, CPU-seconds a MB",
        "cpu_s_per_mb": [round(cost, 4) for cost in costs],  # without start-up
        "start_cpu_s": start["cpu_s"],
        "small": runs[0],
        "large": runs[1],
    }


def few_documents(folder: Path) -> Path:
    """Write a corpus so small that its preparation consists of start-up only."""
    folder.mkdir()
    texts = [f'<doc id="{n}" url="" title="">\nA {n}.\nIt follows. It ends.\n\n</doc>\n' for n in range(50)]
    (folder / "a").write_text("".join(texts))
    return folder


def multiplied(files: list[Path], folder: Path, copies: int) -> Path:
    """Write `copies` copies of WikiExtractor's files, in which no two documents are equal."""
    folder.mkdir()
    for copy in range(copies):
        for number, file in enumerate(files):
            mark = f"\nThis is text {number} of copy {copy}.\n</doc>".encode()
            (folder / f"{copy:03}-{number:05}").write_bytes(END_OF_DOCUMENT.sub(mark, file.read_bytes()))
    return folder


def prepared(corpus: Path, folder: Path, vocabulary: Path, workers: int = 1, passes: int = 1) -> dict[str, float]:
    """Prepare in a separate process. Return its CPU and wall time, and the peak memory of it and of a worker."""
    megabytes = sum(file.stat().st_size for file in corpus.iterdir()) / 1e6
    dataset = folder / "dataset"
    config = DataConfig.model_validate(
        {
            "dataset": str(dataset),
            "corpora": [{"paths": [str(corpus)], "format": "wikiextractor"}],
            "workers": workers,
            "dupe_factor": passes,
            "vocabulary": {"file": str(vocabulary)},
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
    shutil.rmtree(dataset)
    cpu_s = sum(usage.cpu_s for usage in seen.values())
    driver = seen.pop(process.pid)
    return {
        "input_mb": round(megabytes, 1),
        "cpu_s": round(cpu_s, 2),
        "cpu_s_per_mb": round(cpu_s / megabytes, 4),
        "wall_s": round(wall_s, 2),
        "mb_per_s": round(megabytes / wall_s, 2),
        "driver_peak_mib": round(driver.peak_bytes / 2**20),
        "worker_peak_mib": round(max((usage.peak_bytes for usage in seen.values()), default=0) / 2**20),
    }


@dataclass
class Usage:
    """The resources that a process had used at the last sample."""

    cpu_s: float = 0.0
    peak_bytes: int = 0


def watch(process: psutil.Process) -> dict[int, Usage]:
    """Sample a process and its children until it ends. Return the usage by process ID."""
    seen: dict[int, Usage] = {}
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                usage = seen.setdefault(each.pid, Usage())
                spent = each.cpu_times()
                usage.cpu_s = spent.user + spent.system
                usage.peak_bytes = peak_bytes(each.pid) or usage.peak_bytes
        time.sleep(LOOK_EVERY_S)
    return seen


def peak_bytes(process: int) -> int:
    """Return the peak memory of a process since it started its own program, or 0 if it has ended."""
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text()):
            return int(found[1]) << 10
    return 0


if __name__ == "__main__":
    main()
