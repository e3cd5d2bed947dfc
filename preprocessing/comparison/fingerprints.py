"""Fingerprints, by which documents are compared: a digest and, if the recipe requests them, line hashes and MinHash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from configs.schema import CleaningConfig
from preprocessing.comparison.minhash import PERMUTATIONS, Signatures, signature
from preprocessing.comparison.sealed_files import open_sealed
from preprocessing.comparison.words import Hashes
from preprocessing.storage import Store


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of a batch of documents of one file, in order."""

    numbers: NDArray[np.uint32]  # of the documents, counting all documents of the work item from 0
    digests: NDArray[np.uint64]  # [documents, 2]: the first 128 bits of each document's SHA-256
    lines: Hashes  # of all their lines; empty without a search for boilerplate
    line_offsets: NDArray[np.int64]  # [documents + 1]
    signatures: Signatures  # [documents, PERMUTATIONS]; empty without a search for near duplicates

    def __len__(self) -> int:
        return len(self.numbers)


def line_hashes(text: str) -> Hashes:
    """Return the first 64 bits of the BLAKE2b of each line of a cleaned text."""
    hashes = (hashlib.blake2b(line.encode(), digest_size=8).digest() for line in text.split("\n"))
    return np.frombuffer(b"".join(hashes), "<u8")


def fingerprint_schema(config: CleaningConfig) -> pa.Schema:
    """Return the schema of a file of fingerprints."""
    fields = [("number", pa.uint32()), ("high", pa.uint64()), ("low", pa.uint64())]
    if config.boilerplate_documents is not None:
        fields.append(("lines", pa.list_(pa.uint64())))
    if config.duplicates == "near":
        fields.append(("signature", pa.list_(pa.uint32(), PERMUTATIONS)))
    return pa.schema(fields)


def fingerprint(
    texts: Sequence[str], digests: Sequence[bytes], numbers: Sequence[int], schema: pa.Schema
) -> pa.RecordBatch:
    """Return the fingerprints of documents as a record batch, given their cleaned texts, SHA-256s and numbers."""
    halves = np.frombuffer(b"".join(digest[:16] for digest in digests), "<u8").reshape(-1, 2)
    columns = [pa.array(numbers, pa.uint32()), pa.array(halves[:, 0]), pa.array(halves[:, 1])]
    if "lines" in schema.names:
        lines = [line_hashes(text) for text in texts]
        offsets = np.cumsum([0, *map(len, lines)], dtype=np.int32)
        columns.append(pa.ListArray.from_arrays(offsets, np.concatenate([*lines, np.zeros(0, np.uint64)])))
    if "signature" in schema.names:
        signatures = np.concatenate([*map(signature, texts), np.zeros(0, np.uint32)])
        columns.append(pa.FixedSizeListArray.from_arrays(signatures, PERMUTATIONS))
    return pa.record_batch(columns, schema=schema)


def read_fingerprints(store: Store, name: str) -> Iterator[Fingerprints]:
    """Yield the fingerprints in a file, in batches. Raises `UserError` if the file is damaged."""
    with open_sealed(store, name) as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            yield _fingerprints_of(batch)


def _fingerprints_of(batch: pa.RecordBatch) -> Fingerprints:
    lines, offsets, signatures = np.zeros(0, np.uint64), np.zeros(1 + len(batch), np.int64), np.zeros(0, np.uint32)
    if "lines" in batch.schema.names:
        column = batch.column("lines")
        lines, offsets = column.values.to_numpy(), column.offsets.to_numpy().astype(np.int64)
    if "signature" in batch.schema.names:
        signatures = batch.column("signature").values.to_numpy()
    return Fingerprints(
        numbers=batch.column("number").to_numpy(),
        digests=np.stack([batch.column("high").to_numpy(), batch.column("low").to_numpy()], axis=1),
        lines=lines,
        line_offsets=offsets,
        signatures=signatures.reshape(-1, PERMUTATIONS),
    )
