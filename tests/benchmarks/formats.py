"""Measure how fast one core reads, cleans and tokenises the same text in each corpus format.

    python -m tests.benchmarks.formats --format wikipedia --paths dump/*.bz2 --vocab vocab.txt [--megabytes 8]

The documents of a corpus are cleaned, written in every format that holds plain text, and read again. The original
corpus is measured too. Rates are MB of cleaned text per CPU-second, the best of three. `ratio` is the lowest ratio of
a measured rate to the rate in `FORMATS`, both relative to `text`: 1 is exact.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from configs.schema import DataConfig
from preprocessing.corpus.cleaning import Kept, keep
from preprocessing.documents.file_search import find_files
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.plan import make_plan
from preprocessing.documents.progress import Monitor
from preprocessing.documents.reader import read_item
from preprocessing.rows.encoding import EncodedDocument, encode_documents
from preprocessing.storage import store_at
from preprocessing.vocabulary.vocabulary import Vocabulary
from preprocessing.vocabulary.wordpiece import Encoder

ROUNDS = 3


def write_lines(path: Path, documents: Sequence[str]) -> None:
    path.write_text("\n\n".join(documents), encoding="utf-8")


def write_files(path: Path, documents: Sequence[str]) -> None:
    path.mkdir()
    for number, document in enumerate(documents):
        (path / f"{number:06}").write_text(document, encoding="utf-8")


def write_objects(path: Path, documents: Sequence[str]) -> None:
    path.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents), encoding="utf-8")


def write_elements(path: Path, documents: Sequence[str]) -> None:
    lines = (f'<doc id="{n}" url="" title="">\n{document}\n</doc>\n' for n, document in enumerate(documents))
    path.write_text("".join(lines), encoding="utf-8")


def write_rows(path: Path, documents: Sequence[str]) -> None:
    pq.write_table(pa.table({"text": documents}), path, row_group_size=1_000)


WRITERS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "text": write_lines,
    "sentences": write_lines,
    "files": write_files,
    "jsonl": write_objects,
    "parquet": write_rows,
    "wikiextractor": write_elements,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", required=True, choices=sorted(FORMATS))
    parser.add_argument("--paths", required=True, nargs="+")
    parser.add_argument("--vocab", required=True, type=Path)
    parser.add_argument("--megabytes", type=float, default=8.0, help="amount of text to write and read")
    arguments = parser.parse_args()
    vocabulary = Vocabulary.read(arguments.vocab, lowercase=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = recipe(arguments.format, arguments.paths)
        documents = texts(source, work, arguments.megabytes * 1e6)
        rates: dict[str, float] = {}
        for name, write in WRITERS.items():
            write(work / name, documents)
            config = recipe(name, [str(work / name)])
            rates[name] = max(rate(config, work, vocabulary) for _ in range(ROUNDS))
            print(f"{name}: {rates[name]:.1f} MB/s")
        rates[f"{arguments.format}, as it is"] = rate(source, work, vocabulary)
    stated = {name: FORMATS[name.partition(",")[0]].text_mb_s / FORMATS["text"].text_mb_s for name in rates}
    ratios = {name: rates[name] / rates["text"] / stated[name] for name in rates}
    result = {"benchmark": "formats", "ratio": min(ratios.values()), "reference": "text_mb_s of FORMATS"}
    print(json.dumps(result | {"text_mb_s": rates, "ratios": ratios, "megabytes": arguments.megabytes}))


def recipe(name: str, paths: Sequence[str]) -> DataConfig:
    return DataConfig.model_validate({"corpora": [{"paths": list(paths), "format": name}]})


def texts(config: DataConfig, work: Path, size: float) -> list[str]:
    """Return cleaned documents of the corpus with a total of `size` bytes."""
    found: list[str] = []
    for item in make_plan([find_files(config.corpora[0].paths)], config).items:
        for document in read_item(item, config, Monitor(store_at(str(work)))):
            kept = keep(document, config)
            if isinstance(kept, Kept):
                found.append(kept.text)
                size -= kept.text_bytes
            if size <= 0:
                return found
    return found


def rate(config: DataConfig, work: Path, vocabulary: Vocabulary) -> float:
    """Return MB of cleaned text per CPU-second."""
    plan = make_plan([find_files(config.corpora[0].paths)], config)
    encoder = Encoder(vocabulary)
    began, size = time.process_time(), 0
    for item in plan.items:
        kept = (keep(document, config) for document in read_item(item, config, Monitor(store_at(str(work)))))
        for outcome in encode_documents(kept, config.language_of, encoder):
            size += outcome.text_bytes if isinstance(outcome, EncodedDocument) else 0
    return size / 1e6 / (time.process_time() - began)


if __name__ == "__main__":
    main()
