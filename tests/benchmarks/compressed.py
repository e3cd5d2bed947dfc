"""Measure how workers share one compressed file: `python -m tests.benchmarks.compressed --corpus PATH --vocab PATH`.

The benchmark makes one bzip2 file of a single stream from WikiExtractor's files, at least `--megabytes` unpacked, and
prepares it with one worker and with two. `ratio` is the wall time of one worker over that of two. `cpu_ratio` is the
same without what other programs on the machine take: for each stage, the CPU time of one worker's run over that of the
busiest process in the run of two, with what the driver does beside it. `busy_cores` tells for each stage how many
cores the processes kept busy. The command fails unless the file has the documents of the plain text, in order, and
both runs make the same bytes. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil

from configs.schema import DataConfig
from preprocessing.documents import ReadCounter, find_files, make_plan, open_source
from preprocessing.documents.reader import read_documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", help="WikiExtractor's files: a file, a folder or a glob")
    parser.add_argument("--vocab", help="a vocab.txt")
    parser.add_argument("--megabytes", type=int, default=100, help="size of the unpacked file, at least")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--recipe", help=argparse.SUPPRESS)  # prepare it in this process
    arguments = parser.parse_args()
    if arguments.recipe:
        print(json.dumps(prepare_timed(DataConfig.model_validate_json(arguments.recipe))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(arguments, Path(temporary))))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the benchmark's figures."""
    plain, packed = make_files(arguments.corpus, arguments.megabytes * 1_000_000, folder)
    documents, digest = documents_of(plain, arguments)
    if documents_of(packed, arguments) != (documents, digest):
        raise SystemExit("the compressed file has other documents than the plain text")
    runs = {workers: run(packed, arguments, folder / str(workers), workers) for workers in (1, 2)}
    if runs[1]["shards"] != runs[2]["shards"]:
        raise SystemExit("two workers make other bytes than one")
    one, two = ({stage: dict(times) for stage, times in runs[workers]["cpu_s"].items()} for workers in (1, 2))
    busiest = sum(longest(times, runs[2]["driver"]) for times in two.values())
    total = sum(sum(times.values()) for times in one.values())
    return {
        "benchmark": "compressed",
        "ratio": round(runs[1]["wall_s"] / runs[2]["wall_s"], 2),
        "reference": "the same preparation with one worker",
        "cpu_ratio": round(total / busiest, 2),
        "same_documents": documents,
        "work_items": runs[1]["items"],
        "unpacked_mb": round(plain.stat().st_size / 1e6, 1),
        "stored_mb": round(packed.stat().st_size / 1e6, 1),
        "wall_s": {workers: round(result["wall_s"], 1) for workers, result in runs.items()},
        "stage_wall_s": {workers: rounded(result["stage_s"]) for workers, result in runs.items()},
        "stage_cpu_s": {workers: rounded(sums(result["cpu_s"])) for workers, result in runs.items()},
        "busy_cores": {
            stage: round(sum(times.values()) / max(runs[2]["stage_s"][stage], 0.1), 2) for stage, times in two.items()
        },
        "load": psutil.getloadavg()[0],
    }


def make_files(corpus: str, size: int, folder: Path) -> tuple[Path, Path]:
    """Write the corpus's files, as often as needed, to one file; each copy with a line of its own. Compress it."""
    plain, packed = folder / "corpus.txt", folder / "corpus.txt.bz2"
    copy = 0
    with plain.open("wb") as stream:
        while stream.tell() < size:
            for file in find_files([corpus]):
                content = Path(file.path).read_bytes()
                stream.write(content.replace(b"\n</doc>", b"\nThis is copy %d.\n</doc>" % copy) if copy else content)
            copy += 1
    with plain.open("rb") as source, bz2.open(packed, "wb") as target:
        while content := source.read(1 << 20):
            target.write(content)
    return plain, packed


def recipe(path: Path, arguments: argparse.Namespace, dataset: Path, workers: int) -> DataConfig:
    table = {
        "dataset": str(dataset),
        "corpora": [{"paths": [str(path)], "format": "wikiextractor"}],
        "workers": workers,
        "dupe_factor": arguments.passes,
        "vocabulary": {"file": arguments.vocab},
    }
    return DataConfig.model_validate(table)


def documents_of(path: Path, arguments: argparse.Namespace) -> tuple[int, str]:
    """Return the number of documents, and a digest of their texts in order."""
    config = recipe(path, arguments, path.parent / "unused", 1)
    digest, documents = hashlib.sha256(), 0
    plan = make_plan([find_files([str(path)])], config)
    for span in (span for item in plan.items for span in item.spans):
        for document in read_documents(span, config.corpora[0], config, ReadCounter()):
            digest.update(f"{len(document.text)} {document.text}".encode())
            documents += 1
    with open_source(str(path), ReadCounter()) as stream:
        assert stream.read().count(b"<doc id=") == documents, "a document begins at each tag"
    return documents, digest.hexdigest()


def run(path: Path, arguments: argparse.Namespace, folder: Path, workers: int) -> dict[str, Any]:
    """Prepare the file in a process of its own."""
    config = recipe(path, arguments, folder, workers)
    command = [sys.executable, "-m", "tests.benchmarks.compressed", "--recipe", config.model_dump_json()]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def prepare_timed(config: DataConfig) -> dict[str, object]:
    """Prepare a data set, and return the times of its stages and the digests of its shards."""
    from preprocessing.documents import Progress
    from preprocessing.pipeline import prepare

    driver = psutil.Process()
    cpu: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    seen: dict[int, float] = {driver.pid: cpu_of(driver)}
    stage_s: dict[str, float] = defaultdict(float)
    began = last_s = time.monotonic()
    items = 0

    def look(state: Progress) -> None:
        nonlocal last_s, items
        now = time.monotonic()
        stage_s[state.stage] += now - last_s
        last_s = now
        items = max(items, state.groups)
        for process in [driver, *driver.children(recursive=True)]:
            used = cpu_of(process)
            cpu[state.stage][process.pid] += max(0.0, used - seen.get(process.pid, 0.0))
            seen[process.pid] = max(used, seen.get(process.pid, 0.0))

    manifest = prepare(config, progress=look)
    shards = {shard.name: shard.sha256 for shard in manifest.shards}
    wall_s = time.monotonic() - began
    return {"wall_s": wall_s, "stage_s": stage_s, "cpu_s": cpu, "shards": shards, "items": items, "driver": driver.pid}


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of a process; 0 if it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def longest(times: dict[str, float], driver: int) -> float:
    """Return the CPU time of the driver and of the busiest worker in a stage: they can take turns."""
    workers = [seconds for pid, seconds in times.items() if pid != str(driver)]
    return times.get(str(driver), 0.0) + max(workers, default=0.0)


def sums(cpu: dict[str, dict[str, float]]) -> dict[str, float]:
    return {stage: sum(times.values()) for stage, times in cpu.items()}


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(value, 1) for stage, value in seconds.items()}


if __name__ == "__main__":
    main()
