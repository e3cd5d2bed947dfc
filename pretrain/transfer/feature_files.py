"""Reading of texts (lines or JSONL) and writing of their vectors (Arrow or NumPy).

out.arrow   Arrow IPC, one row per text: `number`, and one column per layer (`layer_6`, or `mix`), a fixed-size list of
            floats; for tokens, a list of these per text, and the list `tokens`
out.npz     arrays of the same names, [texts, H]; for tokens [T, H], with `offsets` [texts + 1]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from configs.errors import UserError
from configs.files import atomic_write
from pretrain.transfer.features import FeatureBatch, Floats

ARROW, NUMPY = ".arrow", ".npz"


def read_texts(path: Path, field: str) -> Iterator[str]:
    """Yield one text per line, or `field` of each JSONL record. Raises `UserError` for a record without the field."""
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                if path.suffix != ".jsonl":
                    yield line.rstrip("\n")
                elif line.strip():
                    yield _field_of(line, field, f"{path}, line {number}")
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix="check its name") from error
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8 text", place=str(path), fix="save it as UTF-8") from error


def count_lines(path: Path) -> int:
    """Return the number of lines, for a progress bar; 0 if the file cannot be read, which `read_texts` reports."""
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


def _field_of(line: str, field: str, place: str) -> str:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"not JSON: {error}", place=place, fix="write one JSON object per line") from error
    if not isinstance(record, dict) or not isinstance(record.get(field), str):
        raise UserError(f"no text in {field!r}", place=place, fix="set the field that holds the text: --text FIELD")
    return str(record[field])
