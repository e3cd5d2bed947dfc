"""What preparation costs as text and workers grow.

    python -m tests.benchmarks.preparation_scale --corpus PATH --vocab PATH

It prepares WikiExtractor's files; a corpus of `--copies` of them, each document with a line of its own; then that one
in `--passes` passes, with one worker and with `--workers`. Each runs in a process of its own, which is looked at ten
times a second, as are its workers. The last line is one JSON object: `ratio` is the CPU time of a MB of the small
corpus over that of the large one, both without start-up, 1 where the cost is linear; `workers_ratio` is the wall time
of several workers over that of one.
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
from preprocessing.sources import find_files

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
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--passes", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(arguments, Path(temporary))))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The benchmark's figures. What numba compiles once a machine is compiled before."""
    files = [Path(file.path) for file in find_files([arguments.corpus])]
    corpora = {copies: multiplied(files, folder / f"corpus-{copies}", copies) for copies in (1, arguments.copies)}

    def run(copies: int, workers: int, passes: int) -> dict[str, float]:
        corpus = corpora[copies]
        megabytes = sum(file.stat().st_size for file in corpus.iterdir()) / 1e6
        return prepared(corpus, folder / "dataset", Path(arguments.vocab), megabytes, workers, passes)

    tiny = folder / "tiny"
    tiny.mkdir()
    texts = [f'<doc id="{n}" url="" title="">\nA {n}.\nIt follows. It ends.\n\n</doc>\n' for n in range(50)]
    (tiny / "a").write_text("".join(texts))
    for _ in range(2):  # the first one compiles
        start = prepared(tiny, folder / "dataset", Path(arguments.vocab), 1.0, 1, 1)
    small = run(1, 1, 1)
    large = run(arguments.copies, 1, 1)
    costs = [(each["cpu_s"] - start["cpu_s"]) / each["input_mb"] for each in (small, large)]
    alone = run(arguments.copies, 1, arguments.passes)
    together = run(arguments.copies, arguments.workers, arguments.passes)
    return {
        "benchmark": "preparation_scale",
        "ratio": round(costs[0] / costs[1], 3),
        "reference": f"a corpus {arguments.copies} times smaller, CPU-seconds a MB",
        "start_cpu_s": start["cpu_s"],
        "workers_ratio": round(together["wall_s"] / alone["wall_s"], 3),
        "small": small,
        "large": large,
        f"large_{arguments.passes}_passes": alone,
        f"large_{arguments.passes}_passes_{arguments.workers}_workers": together,
    }


def multiplied(files: list[Path], folder: Path, copies: int) -> Path:
    """So many copies of WikiExtractor's files, no document of which is equal to another."""
    folder.mkdir()
    for copy in range(copies):
        for number, file in enumerate(files):
            mark = f"\nThis is text {number} of copy {copy}.\n</doc>".encode()
            (folder / f"{copy:03}-{number:05}").write_bytes(END_OF_DOCUMENT.sub(mark, file.read_bytes()))
    return folder


def prepared(
    corpus: Path, dataset: Path, vocabulary: Path, megabytes: float, workers: int, passes: int
) -> dict[str, float]:
    """CPU and wall time of a preparation in a process of its own, and the most memory of it and of a worker of it."""
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
    """What a process has used when it was last looked at."""

    cpu_s: float = 0.0
    peak_bytes: int = 0


def watch(process: psutil.Process) -> dict[int, Usage]:
    """Look at a process and those it starts until it ends; what each has used, by process number."""
    seen: dict[int, Usage] = {}
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                usage = seen.setdefault(each.pid, Usage())
                spent = each.cpu_times()
                usage.cpu_s = spent.user + spent.system
                usage.peak_bytes = max(usage.peak_bytes, each.memory_info().rss)
        time.sleep(LOOK_EVERY_S)
    return seen


if __name__ == "__main__":
    main()
