"""Measure how fast one core makes masked pairs: `python -m tests.benchmarks.preprocessing --corpus PATH --vocab PATH`.

The benchmark prepares a data set from WikiExtractor's files with all steps: reading, cleaning, sentences, word
pieces, pairs, masks, digests, files on disk. Then Hugging Face `tokenizers` does only one of these steps: it encodes
the same text, line by line on one core. Rates are MB of input per CPU-second, since the core can be shared. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import DataConfig
from preprocessing.corpus import cleaned_files
from preprocessing.corpus.cleaning import Kept, keep
from preprocessing.dataset.manifest import Manifest
from preprocessing.documents.file_search import find_files
from preprocessing.documents.input_files import ReadCounter
from preprocessing.documents.plan import make_plan
from preprocessing.documents.reader import read_documents
from preprocessing.execution import steps
from preprocessing.groups import group
from preprocessing.pipeline import prepare
from preprocessing.rows import encoding
from preprocessing.vocabulary.vocabulary import Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder

REFERENCE_BATCH = 1_000  # lines, the default batch of `datasets`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="WikiExtractor's files: a file, a folder or a glob")
    parser.add_argument("--vocab", required=True, help="a vocab.txt")
    parser.add_argument("--cased", action="store_true", help="the vocabulary is cased")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=JSON", help="other keys of the recipe's [data] section"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure(arguments, Path(temporary))))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Return the benchmark's figures. Code that numba compiles once per machine is compiled beforehand."""
    warm_up(arguments, folder)
    config = recipe(arguments, arguments.corpus, folder / "dataset")
    stages = Stages()
    began = time.process_time()
    manifest = prepare(config)
    cpu_s = time.process_time() - began
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stages.restore()
    input_mb = sum(file.size for file in find_files([arguments.corpus])) / 1e6
    tokens = sum(shard.tokens for shard in manifest.shards)
    text_mb, reference_s = reference_rate(config)
    rate, reference = input_mb / cpu_s, text_mb / reference_s
    return {
        "benchmark": "preprocessing",
        "ratio": round(rate / reference, 2),
        "reference": f"encode_batch_fast alone, {reference:.2f} MB a CPU-second",
        "passes": arguments.passes,
        "mb_per_cpu_s": round(rate, 2),
        "mb_per_cpu_s_by_stage": {name: round(input_mb / seconds, 1) for name, seconds in stages.rest(cpu_s).items()},
        "cpu_s_by_stage": {name: round(seconds, 2) for name, seconds in stages.rest(cpu_s).items()},
        "cpu_s": round(cpu_s, 2),
        "input_mb": round(input_mb, 1),
        "tokens_per_cpu_s": round(tokens / cpu_s),
        "peak_memory_mib": round(memory_mib),
        "bytes_per_token": round(sum(shard.bytes for shard in manifest.shards) / tokens, 3),
        "rows": sum(shard.rows for shard in manifest.shards),
        "tokens_per_row": mean_length(manifest),
    }


def recipe(arguments: argparse.Namespace, corpus: str, dataset: Path) -> DataConfig:
    """Return the recipe: the defaults except for the number of passes, on one core."""
    return DataConfig.model_validate(
        {
            "dataset": str(dataset),
            "corpora": [{"paths": [corpus], "format": "wikiextractor"}],
            "workers": 1,
            "max_seq_length": arguments.sequence,
            "dupe_factor": arguments.passes,
            "vocabulary": {"file": arguments.vocab, "lowercase": not arguments.cased},
            **{key: json.loads(value) for key, _, value in (setting.partition("=") for setting in arguments.set)},
        }
    )


def warm_up(arguments: argparse.Namespace, folder: Path) -> None:
    """Prepare a few lines, so that all code is imported and compiled."""
    texts = [f'<doc id="{n}" url="" title="">\nA {n}.\nIt follows. It ends.\n\n</doc>\n' for n in range(50)]
    (folder / "warm_up.txt").write_text("".join(texts))
    prepare(recipe(arguments, str(folder / "warm_up.txt"), folder / "warm_up"))


class Stages:
    """CPU-seconds per stage, measured around the functions that the steps call."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._replaced: list[tuple[Any, str, Any]] = []
        self._replace(steps, "read_corpus", lambda function: self._around_each("read", function))
        self._replace(cleaned_files, "batches", lambda function: self._around_each("read", function))
        self._replace(cleaned_files, "fingerprint", lambda function: self._around("read", function))
        self._replace(encoding, "split_sentences", lambda function: self._around("sentences", function))
        self._replace(Encoder, "encode", lambda function: self._around("tokens", function))
        self._replace(group, "tokenized", lambda function: self._around("pairs", function))
        self._replace(group, "make_pairs", lambda function: self._around("pairs", function))
        self._replace(group, "mask_pairs", lambda function: self._around("masks", function))
        self._replace(group, "add_shard", lambda function: self._around("write", function))

    def rest(self, cpu_s: float) -> dict[str, float]:
        """Return the seconds of all stages, and the rest of `cpu_s` for Beam, statistics and other work."""
        return {**self.seconds, "other": cpu_s - sum(self.seconds.values())}

    def restore(self) -> None:
        """Restore the functions."""
        for owner, name, function in self._replaced:
            setattr(owner, name, function)

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, wrap(getattr(owner, name)))

    def _around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[stage] += time.thread_time() - began

        return timed

    def _around_each(self, stage: str, function: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
        def timed(*arguments: Any) -> Iterator[Any]:
            items = iter(function(*arguments))
            take = self._around(stage, lambda: next(items, None))
            yield from iter(take, None)

        return timed


def reference_rate(config: DataConfig) -> tuple[float, float]:
    """Return the MB of the same cleaned text by line, and the CPU-seconds of `encode_batch_fast` for it."""
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    vocabulary = Vocabulary.read(Path(config.vocabulary.file or ""), config.vocabulary.lowercase)
    tokenizer = vocabulary.tokenizer()
    plan = make_plan([find_files(corpus.paths) for corpus in config.corpora], config)
    size = seconds = 0.0
    for item in plan.items:
        raw = (
            document
            for span in item.spans
            for document in read_documents(span, config.corpora[0], config, ReadCounter())
        )
        documents = (keep(document, config) for document in raw)
        lines = [line for document in documents if isinstance(document, Kept) for line in document.text.split("\n")]
        size += sum(len(line.encode()) + 1 for line in lines)
        began = time.process_time()
        for start in range(0, len(lines), REFERENCE_BATCH):
            tokenizer.encode_batch_fast(lines[start : start + REFERENCE_BATCH], add_special_tokens=False)
        seconds += time.process_time() - began
    return size / 1e6, seconds


def mean_length(manifest: Manifest) -> float:
    """Return the mean number of tokens per row of the first pass."""
    histogram = np.array(manifest.statistics.length_histogram)
    return round(float(histogram @ np.arange(len(histogram)) / histogram.sum()), 1)


if __name__ == "__main__":
    main()
