"""Reading of texts (lines or tables) and writing of their vectors (Arrow or NumPy).

out.arrow   Arrow IPC, one row per text: `number`, and one column per layer (`layer_6`, or `mix`), a fixed-size list of
            floats; for tokens, a list of these per text, and the list `tokens`
out.npz     arrays of the same names, [texts, H]; for tokens [T, H], with `offsets` [texts + 1]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs.errors import UserError
from configs.files import atomic_write
from pretrain.transfer.features import FeatureBatch, Floats
from pretrain.transfer.labelled import is_header, read_text, text_column
from pretrain.transfer.tables import (
    STATE,
    RecordError,
    Table,
    is_columnar,
    open_content,
    place_of,
    read_saved_dataset,
    refuse_folder,
    table_of,
    text_lines,
)

ARROW, NUMPY = ".arrow", ".npz"
TABLES = {".csv", ".tsv"}
COUNTED_ELSEWHERE = {*TABLES, ".json", ".parquet", ".arrow", ".gz", ".bz2", ".xz", ".zst"}


def read_texts(path: Path, column: str = "") -> Iterator[str]:
    """Yield the texts of a file, or of standard input for `-`: one per line, or a column of a table.

    A file is a table if it is JSON, Parquet or Arrow, if it is named .csv or .tsv, if its first line is a header that
    names a column of texts, or if `column` is given. Raises `UserError`, with the line, for what is not a text.
    """
    if (path / STATE).is_file():
        yield from _texts_of(read_saved_dataset(path), column)
        return
    refuse_folder(path)
    with open_content(path) as stream:
        first = stream.peek(8)
        is_named = any(suffix.lower() in TABLES for suffix in path.suffixes)
        is_table = column or is_named or is_columnar(first) or first.lstrip().startswith((b'{"', b'[{"'))
        if is_table or is_header(first.partition(b"\n")[0].decode(errors="replace")):
            yield from _texts_of(table_of(stream, place_of(path)), column)
        else:
            yield from text_lines(stream, place_of(path))


def _texts_of(table: Table, column: str) -> Iterator[str]:
    name = text_column(table, column or None, "--text")
    for row in table.rows:
        try:
            if row.problem:
                raise row.problem
            yield read_text(row.values.get(name), name)
        except RecordError as problem:
            raise UserError(problem.cause, place=row.place, fix=f"{problem.fix}, or set --text") from problem


def count_lines(path: Path) -> int:
    """Return the number of lines of a plain text file, for a progress bar; 0 for anything else."""
    if not path.is_file() or any(suffix.lower() in COUNTED_ELSEWHERE for suffix in path.suffixes):
        return 0
    try:
        with path.open("rb") as stream:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
    except OSError:
        return 0


def write_features(path: Path, blocks: Iterator[FeatureBatch], names: Sequence[str], *, of_tokens: bool) -> int:
    """Write the vectors of all blocks atomically, with one name per layer; return the number of texts."""
    if path.suffix not in (ARROW, NUMPY):
        raise UserError(
            f"unknown file format: {path.suffix or path.name}", place=str(path), fix="write to .arrow or .npz"
        )
    write = _write_arrow if path.suffix == ARROW else _write_numpy
    return write(path, blocks, names, of_tokens)


def _write_arrow(path: Path, blocks: Iterator[FeatureBatch], names: Sequence[str], of_tokens: bool) -> int:
    """Write one record batch per block, so that memory use does not grow with the number of texts."""
    count = 0
    with atomic_write(path) as stream:
        writer: pa.ipc.RecordBatchFileWriter | None = None
        for block in blocks:
            batch = _record_batch(block, count, names, of_tokens)
            writer = writer or pa.ipc.new_file(stream, batch.schema)
            writer.write_batch(batch)
            count += len(block.tokens)
        if writer is None:
            raise UserError("no texts", place=str(path), fix="give a file with texts")
        writer.close()
    return count


def _record_batch(block: FeatureBatch, first: int, names: Sequence[str], of_tokens: bool) -> pa.RecordBatch:
    columns: dict[str, pa.Array] = {"number": pa.array(np.arange(first, first + len(block.tokens)))}
    if of_tokens:
        columns["tokens"] = pa.array(block.tokens, pa.list_(pa.string()))
    for name, vectors_NH in zip(names, block.vectors, strict=True):
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors_NH.ravel()), vectors_NH.shape[1])
        columns[name] = pa.ListArray.from_arrays(_offsets(block).astype(np.int32), column) if of_tokens else column
    return pa.RecordBatch.from_pydict(columns)


def _write_numpy(path: Path, blocks: Iterator[FeatureBatch], names: Sequence[str], of_tokens: bool) -> int:
    parts: list[Floats] = []
    lengths: list[int] = []
    for block in blocks:
        parts.append(block.vectors)
        lengths += map(len, block.tokens)
    if not parts:
        raise UserError("no texts", place=str(path), fix="give a file with texts")
    arrays = dict(zip(names, np.concatenate(parts, axis=1), strict=True))
    if of_tokens:
        arrays["offsets"] = np.append(0, np.cumsum(lengths))
    with atomic_write(path) as stream:
        np.savez(stream, **arrays)
    return len(lengths)


def _offsets(block: FeatureBatch) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.append(0, np.cumsum([len(tokens) for tokens in block.tokens]))
