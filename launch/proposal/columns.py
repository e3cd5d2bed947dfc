"""Which columns or fields of a table or of JSON lines hold text, and how much, from the first records."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, BinaryIO

import pyarrow as pa

from preprocessing.documents import ReadCounter, objects_of, open_source, open_stored

SAMPLE_BYTES = 1 << 18
SAMPLED_RECORDS = 50
SEPARATORS = ",;\t|"
ARROW_FILE = b"ARROW1"  # else it is a stream


def column_lengths(path: str, kind: str) -> dict[str, int]:
    """Return the columns or fields that hold text, with the number of characters in the first records."""
    if kind not in ("parquet", "arrow", "jsonl", "csv", "tsv"):
        return {}
    lengths: Counter[str] = Counter()
    for record in _records(path, kind):
        for name, length in _lengths(record):
            lengths[name] += length
    return dict(lengths)


def _records(path: str, kind: str) -> list[Any]:
    """Return the first records of a file; none of a damaged one, which its format's reader names."""
    if kind in ("parquet", "arrow"):
        with open_stored(path, ReadCounter()) as stream, suppress(pa.ArrowException, OSError, StopIteration):
            records: list[Any] = _first_batch(stream, kind).slice(0, SAMPLED_RECORDS).to_pylist()
            return records
        return []
    with open_source(path, ReadCounter()) as stream:
        sample = stream.read(SAMPLE_BYTES)
    if kind == "jsonl":
        objects = chain.from_iterable(map(objects_of, sample.split(b"\n")))
        return list(filter(None, map(_parsed, islice(objects, SAMPLED_RECORDS))))
    lines = sample.decode(errors="replace").splitlines()
    separator = (
        "\t" if kind == "tsv" else max(SEPARATORS, key=lambda each: len(next(csv.reader(lines, delimiter=each))))
    )
    return list(islice(csv.DictReader(lines, delimiter=separator), SAMPLED_RECORDS))


def _columns(lines: list[str], separator: str) -> int:
    return len(next(csv.reader(lines, delimiter=separator)))


def _first_batch(stream: BinaryIO, kind: str) -> pa.RecordBatch:
    if kind == "parquet":
        import pyarrow.parquet

        return next(pyarrow.parquet.ParquetFile(stream, pre_buffer=False).iter_batches(SAMPLED_RECORDS))
    is_file = stream.read(len(ARROW_FILE)) == ARROW_FILE
    stream.seek(0)
    return pa.ipc.open_file(stream).get_batch(0) if is_file else pa.ipc.open_stream(stream).read_next_batch()


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None


def _lengths(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield the characters of each text in a record, with the path of keys to it."""
    if isinstance(value, str):
        yield name, len(value)
    elif isinstance(value, list):
        yield from chain.from_iterable(_lengths(part, name) for part in value)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _lengths(part, f"{name}.{key}".lstrip("."))
