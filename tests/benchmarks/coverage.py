"""Measure how much of a corpus stands in no row: `python -m tests.benchmarks.coverage --corpus PATH --format F ...`.

The benchmark prepares a data set with balanced next-sentence pairs. Beside each real call of `make_pairs` it makes the
same pairs from documents whose word pieces are numbered, so that a row tells which pieces stand in it. Counted are the
pieces of the training split: those of documents that make no row in any pass ("no pair"), and those that each pass cuts
off. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import DataConfig
from preprocessing.dataset import VocabularyEntry
from preprocessing.groups import group
from preprocessing.pipeline import prepare
from preprocessing.rows.pairs import Pairs, TokenizedDocuments, make_pairs

AT_MOST_PCT = 2.0  # of all pieces, in no row of any of five passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="a file, a folder or a glob")
    parser.add_argument("--format", required=True, help="the corpus's format, such as wikiextractor")
    parser.add_argument("--vocab", required=True, help="a vocab.txt")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--max-seq-length", type=int, default=128)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="other keys of [data]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(recipe(arguments, Path(folder) / "dataset"))))


def recipe(arguments: argparse.Namespace, dataset: Path) -> DataConfig:
    """Return the defaults, with the command line's corpus, passes and length, on one core."""
    table: dict[str, Any] = {
        "dataset": str(dataset),
        "corpora": [{"paths": [arguments.corpus], "format": arguments.format}],
        "workers": 1,
        "dupe_factor": arguments.passes,
        "max_seq_length": arguments.max_seq_length,
        "vocabulary": {"file": arguments.vocab},
    }
    for setting in arguments.set:
        key, _, value = setting.partition("=")
        table[key] = json.loads(value)
    return DataConfig.model_validate(table)


def measure(config: DataConfig) -> dict[str, object]:
    """Return the benchmark's figures."""
    with recorded(config.dupe_factor) as coverage:
        manifest = prepare(config)
    rows, tokens = (
        np.array([sum(getattr(s, name) for s in manifest.select("train", p)) for p in range(config.dupe_factor)])
        for name in ("rows", "tokens")
    )
    overall_pct = percentage(coverage.cut_in_all, coverage.pieces)
    return {
        "benchmark": "coverage",
        "ratio": round(AT_MOST_PCT / max(overall_pct, 0.001), 2),
        "reference": f"at most {AT_MOST_PCT} % of the word pieces in no row of {config.dupe_factor} passes",
        "pieces": coverage.pieces,
        "in_no_row_pct": {
            "cut, by pass": [percentage(cut, coverage.pieces) for cut in coverage.cut],
            "cut, in all passes": overall_pct,
            "no pair": percentage(coverage.unpaired, coverage.pieces),
        },
        "rows": rows.tolist(),
        "tokens": tokens.tolist(),
        "tokens_per_row": round(float(tokens.sum() / rows.sum()), 2),
        "labelled_1_pct": percentage(manifest.statistics.random_next_pairs, int(rows[0])),
        "drops": manifest.drops,
        "groups": len({shard.group for shard in manifest.shards}),
    }


def percentage(part: int, whole: int) -> float:
    return round(100 * part / max(1, whole), 4)


@dataclass
class Coverage:
    """Word pieces of the training split, summed over groups."""

    passes: int
    cut: NDArray[np.int64]  # [passes], of the other documents
    pieces: int = 0
    unpaired: int = 0  # in documents that make no row in any pass
    cut_in_all: int = 0  # in no row of any pass
    _documents: TokenizedDocuments | None = None
    _times: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, documents: TokenizedDocuments, pairs: Pairs) -> None:
        """Add one pass over the documents of a group. Its passes come one after another."""
        if documents is not self._documents:
            self._documents, self._times = documents, []
        stands = np.zeros(len(documents.ids), np.bool_)
        stands[without_special(pairs)] = True
        self._times.append(stands)
        if len(self._times) == self.passes:  # the held-out split has one pass, and is not counted
            self._count(documents)

    def _count(self, documents: TokenizedDocuments) -> None:
        ends = documents.sentence_offsets[documents.document_offsets]
        stands = np.any(self._times, axis=0)
        sums = np.append(0, np.cumsum(stands))
        is_paired = np.repeat(sums[ends[1:]] > sums[ends[:-1]], np.diff(ends))
        self.pieces += len(stands)
        self.unpaired += int(np.count_nonzero(~is_paired))
        self.cut_in_all += int(np.count_nonzero(is_paired & ~stands))
        self.cut += np.array([np.count_nonzero(is_paired & ~of_pass) for of_pass in self._times])


def without_special(pairs: Pairs) -> NDArray[np.int64]:
    """Return the ids of all rows except for [CLS] and [SEP]."""
    is_piece = np.ones(len(pairs.input_ids), np.bool_)
    starts, ends = pairs.input_offsets[:-1], pairs.input_offsets[1:]
    is_piece[starts] = is_piece[starts + pairs.segment_a_length.astype(np.int64) - 1] = is_piece[ends - 1] = False
    return pairs.input_ids[is_piece].astype(np.int64)


@contextmanager
def recorded(passes: int) -> Iterator[Coverage]:
    """Record the pairs that preparations in this process make inside the block."""
    coverage = Coverage(passes, np.zeros(passes, np.int64))

    def record(documents: TokenizedDocuments, config: Any, vocabulary: VocabularyEntry, number: int) -> Pairs:
        numbered = replace(documents, ids=np.arange(len(documents.ids), dtype=np.uint32))
        coverage.add(documents, make_pairs(numbered, config, vocabulary, number))
        return make_pairs(documents, config, vocabulary, number)

    vars(group)["make_pairs"] = record
    try:
        yield coverage
    finally:
        vars(group)["make_pairs"] = make_pairs


if __name__ == "__main__":
    main()
