"""Shards: Arrow IPC files, uncompressed, one record batch each, memory-mappable.

Arrow detects almost no damage by itself, so the manifest records the SHA-256 of every shard, and readers check it
before they use the rows. The schema of a shard names the vocabulary that its ids belong to.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from configs.errors import UserError
from configs.files import sha256_of_file
from preprocessing.dataset.figures import Split
from preprocessing.dataset.manifest import SHARDS, ShardEntry
from preprocessing.storage import Store

_VOCABULARY_KEY = b"vocabulary_sha256"  # in a shard's schema
IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Provenance:
    """The sources of the segments in a shard, one array element per row.

    A document is identified by the first 8 bytes of its digest, as a big-endian number. Its sentences are numbered from
    0; sentences without word pieces are not counted. A segment is cut from `*_sentences` consecutive sentences, which
    start at `*_first_sentence`. `*_start` is the number of word pieces of the document before the segment's first one;
    format 1 does not record it. Under the objective `none` there is no segment B, and `b_sentences` is 0.
    """

    a_document: NDArray[np.uint64]
    a_first_sentence: NDArray[np.uint32]
    a_sentences: NDArray[np.uint16]
    b_document: NDArray[np.uint64]
    b_first_sentence: NDArray[np.uint32]
    b_sentences: NDArray[np.uint16]
    a_start: NDArray[np.uint32] | None = None
    b_start: NDArray[np.uint32] | None = None


PROVENANCE_COLUMNS = tuple(field.name for field in fields(Provenance))


@dataclass(frozen=True)
class Rows:
    """The rows of a shard, in columns. A ragged column is a flat array and its offsets (rows + 1 values, from 0).

    `input_ids` and `masked_lm_ids` are uint16, or uint32 when the vocabulary has more than 65,536 entries.
    """

    input_ids: IntArray  # `[CLS] A [SEP] B [SEP]`, masks applied, not padded
    input_offsets: NDArray[np.int32]
    segment_a_length: NDArray[np.uint16]  # leading tokens of segment A, `[CLS]` and the first `[SEP]` included
    masked_lm_positions: NDArray[np.uint16]  # ascending, never a special token, never twice
    masked_lm_ids: IntArray  # the original token at each masked position
    masked_offsets: NDArray[np.int32]
    # 0: B follows A; 1: B is from another document (`nsp`), or A and B are swapped (`sop`); 0 under `none`
    next_sentence_label: NDArray[np.uint8]
    provenance: Provenance | None = None

    def __len__(self) -> int:
        return len(self.segment_a_length)


def token_dtype(vocabulary_size: int) -> type[np.uint16] | type[np.uint32]:
    """Return the narrowest column type that can represent every id."""
    return np.uint16 if vocabulary_size <= 1 << 16 else np.uint32


def write_shard(stream: IO[bytes], rows: Rows, vocabulary_sha256: str) -> tuple[int, str]:
    """Write `rows` as one Arrow IPC file to an open binary stream. Returns its size in bytes and its SHA-256."""
    hashing = HashingStream(stream)
    batch = _to_record_batch(rows).replace_schema_metadata({_VOCABULARY_KEY: vocabulary_sha256})
    sink = pa.PythonFile(hashing, mode="w")
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return hashing.size, hashing.hash.hexdigest()


def add_shard(
    store: Store,
    group: str,
    split: Split,
    pass_number: int,
    rows: Rows,
    vocabulary_sha256: str,
    forced: int = 0,
    corpus: int | None = None,
) -> ShardEntry:
    """Write `rows` as the shard of a group, split, and pass of the data set in `store`. Returns its manifest entry.

    `forced` is the number of rows whose label no coin decided; `corpus` is that of all rows, if they have one.
    """
    of_corpus = f"-c{corpus:02}" if corpus else ""  # the first corpus needs none
    name = f"{SHARDS}/{group}-p{pass_number:02}-{split}{of_corpus}.arrow"
    with store.write(name) as stream:
        size, sha256 = write_shard(stream, rows, vocabulary_sha256)
    return ShardEntry(
        name=name,
        group=group,
        split=split,
        pass_number=pass_number,
        rows=len(rows),
        tokens=len(rows.input_ids),
        masked_tokens=len(rows.masked_lm_ids),
        forced=forced,
        bytes=size,
        sha256=sha256,
        corpus=corpus,
    )


def read_shard(path: Path) -> Rows:
    """Memory-map a shard. Its columns are views of the mapping, which lives as long as they do.

    This function reads the footer only, and checks that each column is inside the file. Check the digest first
    (`check_shard`), because Arrow trusts what it reads. Raises `pyarrow.ArrowInvalid` for a column beyond it.
    """
    reader = _open_shard(path)
    if reader.num_record_batches != 1:
        raise UserError(
            "the shard does not hold exactly one record batch", place=str(path), fix="prepare the data set again"
        )
    batch = reader.get_batch(0)
    batch.validate()  # the lengths of columns and buffers; without it, a wrong one is read beyond the mapping
    return _from_record_batch(batch)


def vocabulary_of_shard(path: Path) -> str:
    """Return the SHA-256 of the vocabulary that a shard's schema names, or "" when it names none."""
    return ((_open_shard(path).schema.metadata or {}).get(_VOCABULARY_KEY) or b"").decode()


class DamagedShardError(UserError):
    """A shard is missing, or its bytes differ from those that the manifest records."""


def check_shard(store: Store, entry: ShardEntry, settled_ns: int | None = None) -> None:
    """Check a shard's size and digest. Raises `DamagedShardError`, with its file name, if it is missing or damaged.

    `settled_ns` is when its digest was known to be right. If the shard has not changed since, it is not read again.
    """
    changed_ns = _check_size(store, entry)
    if settled_ns is None or changed_ns is None or changed_ns >= settled_ns:
        _check_digest(store, entry, store.sha256(entry.name))


@contextmanager
def local_shard(store: Store, entry: ShardEntry) -> Iterator[Path]:
    """Yield the local path of a shard, checked like `check_shard`; for a data set at a URL, the path of a copy.

    The copy is removed when the block ends. Rows that were read from it can outlive the block.
    """
    _check_size(store, entry)
    with store.local_file(entry.name) as path:
        _check_digest(store, entry, sha256_of_file(path))
        yield path


def _check_size(store: Store, entry: ShardEntry) -> int | None:
    """Check a shard's size. Return the time of its last change, if the file system says it."""
    stamp = store.stamp(entry.name)
    if stamp is None:
        raise _damaged(store, entry, "the shard is missing")
    if stamp.size != entry.bytes:
        raise _damaged(store, entry, f"the shard has {stamp.size} bytes, not {entry.bytes}")
    return stamp.changed_ns


def _check_digest(store: Store, entry: ShardEntry, sha256: str | None) -> None:
    if sha256 != entry.sha256:
        raise _damaged(store, entry, "the shard is damaged: its SHA-256 is not the manifest's")


def _damaged(store: Store, entry: ShardEntry, cause: str) -> DamagedShardError:
    fix = "run `bertrain prepare RECIPE` again: it makes only what is missing or damaged"
    return DamagedShardError(cause, place=f"{store.place}/{entry.name}", fix=fix)


class HashingStream:
    """A binary stream that hashes and counts the bytes written, and stays open when Arrow closes its sink."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.hash = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Write bytes, and return how many there are."""
        self.hash.update(data)
        self.size += len(data)
        self.stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Flush the stream below."""
        self.stream.flush()


def _open_shard(path: Path) -> pa.ipc.RecordBatchFileReader:
    with path.open("rb") as stream:
        mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping)))


def _to_record_batch(rows: Rows) -> pa.RecordBatch:
    columns = {
        "input_ids": pa.ListArray.from_arrays(pa.array(rows.input_offsets), pa.array(rows.input_ids)),
        "segment_a_length": pa.array(rows.segment_a_length),
        "masked_lm_positions": pa.ListArray.from_arrays(
            pa.array(rows.masked_offsets), pa.array(rows.masked_lm_positions)
        ),
        "masked_lm_ids": pa.ListArray.from_arrays(pa.array(rows.masked_offsets), pa.array(rows.masked_lm_ids)),
        "next_sentence_label": pa.array(rows.next_sentence_label),
    }
    if rows.provenance is not None:
        origin = vars(rows.provenance)
        columns |= {name: pa.array(origin[name]) for name in PROVENANCE_COLUMNS if origin[name] is not None}
    schema = pa.schema([pa.field(name, column.type, nullable=False) for name, column in columns.items()])
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _from_record_batch(batch: pa.RecordBatch) -> Rows:
    input_ids = batch.column("input_ids")
    positions = batch.column("masked_lm_positions")
    return Rows(
        input_ids=input_ids.values.to_numpy(),
        input_offsets=input_ids.offsets.to_numpy(),
        segment_a_length=batch.column("segment_a_length").to_numpy(),
        masked_lm_positions=positions.values.to_numpy(),
        masked_lm_ids=batch.column("masked_lm_ids").values.to_numpy(),
        masked_offsets=positions.offsets.to_numpy(),
        next_sentence_label=batch.column("next_sentence_label").to_numpy(),
        provenance=_provenance(batch),
    )


def _provenance(batch: pa.RecordBatch) -> Provenance | None:
    if PROVENANCE_COLUMNS[0] not in batch.schema.names:
        return None
    names = (name for name in PROVENANCE_COLUMNS if name in batch.schema.names)
    return Provenance(**{name: batch.column(name).to_numpy() for name in names})
