"""Rows of Parquet files, Arrow files and streams, and the folders that `datasets` writes.

The names of a class label, which `datasets` stores beside the data, replace its numbers; -1 is no label.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from configs.files import read_bounded
from configs.records import parse_object
from pretrain.transfer.tables.containers import ARROW_FILE, ARROW_STREAM, PARQUET, read_whole
from pretrain.transfer.tables.rows import Row, Table

STATE = "state.json"  # of a folder that `Dataset.save_to_disk` wrote

_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

Translate = Callable[[Any], Any]


def is_columnar(first: bytes) -> bool:
    """Return whether a file that begins with these bytes is Parquet or Arrow."""
    return first.startswith((PARQUET, ARROW_FILE, ARROW_STREAM))


def read_columnar(stream: io.BufferedReader, place: str) -> Table:
    """Return the table of a Parquet or Arrow file."""
    first, buffer = stream.peek(8), io.BytesIO(read_whole(stream, place))
    try:
        if first.startswith(PARQUET):
            file = pq.ParquetFile(buffer)
            return _table(place, file.schema_arrow, file.iter_batches())
        if first.startswith(ARROW_FILE):
            reader = pa.ipc.open_file(buffer)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            return _table(place, reader.schema, batches)
        whole = _table_of_streams(buffer)
        return _table(place, whole.schema, iter(whole.to_batches()))
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"cannot read: {error}", place=place, fix="write the file again") from error


def read_saved_dataset(folder: Path) -> Table:
    """Return the table of a folder that `Dataset.save_to_disk` wrote."""
    try:
        state = parse_object(read_bounded(folder / STATE))
        files = [folder / str(entry["filename"]) for entry in state["_data_files"]]
        tables = [_table_of_streams(pa.memory_map(str(file))) for file in files]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        fix = "write it again with `Dataset.save_to_disk`"
        raise UserError(f"a damaged `datasets` folder: {error}", place=str(folder), fix=fix) from error
    whole = pa.concat_tables(tables)
    return _table(str(folder), whole.schema, iter(whole.to_batches()))


def _table_of_streams(source: IO[bytes]) -> pa.Table:
    """Return the rows of a file of one or several Arrow streams. Raises `ValueError` if it is truncated."""
    size = source.seek(0, os.SEEK_END)
    source.seek(max(0, size - len(_END_OF_STREAM)))
    if source.read() != _END_OF_STREAM:  # pyarrow takes a stream that is cut between two batches for a complete one
        raise ValueError("the Arrow stream is truncated")
    source.seek(0)
    tables = []
    while source.tell() < size:
        tables.append(pa.ipc.open_stream(source).read_all())
    return pa.concat_tables(tables)


def _table(place: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Table:
    return Table(place, list(schema.names), _rows(place, batches, _translations(schema)))


def _rows(place: str, batches: Iterator[pa.RecordBatch], translations: dict[str, Translate]) -> Iterator[Row]:
    number = 0
    for batch in _explained(batches, place):
        for start in range(0, len(batch), 1024):  # bounds the number of Python objects
            for values in batch.slice(start, 1024).to_pylist():
                number += 1
                for name, translate in translations.items():
                    values[name] = translate(values[name])
                yield Row(f"{place}, record {number}", values)


def _explained(batches: Iterator[pa.RecordBatch], place: str) -> Iterator[pa.RecordBatch]:
    try:
        for batch in batches:
            batch.validate(full=True)  # a text can begin or end outside the file
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"a damaged file: {error}", place=place, fix="write the file again") from error


def _translations(schema: pa.Schema) -> dict[str, Translate]:
    """Return, for each column of class labels, the function from its numbers to their names."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        items = list(features.items())
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
    found = {}
    for name, feature in items:
        inner = feature
        while isinstance(inner, dict) and inner.get("_type") in ("Sequence", "List", "LargeList"):
            inner = inner.get("feature")
        if name in schema.names and isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            found[name] = _translate(inner.get("names", []))
    return found


def _translate(names: Sequence[str]) -> Translate:
    def translate(value: Any) -> Any:
        if isinstance(value, list):
            return [translate(one) for one in value]
        if not isinstance(value, int):
            return value
        return names[value] if 0 <= value < len(names) else None

    return translate
