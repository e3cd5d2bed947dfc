"""Temporary files of the cleaned corpus: for each work item, one file of documents and one of fingerprints.

With them, a corpus is read and cleaned only once, even when all documents must be compared before the first group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from configs.schema import CleaningConfig, TextConfig
from preprocessing.comparison import fingerprint, fingerprint_schema
from preprocessing.corpus.cleaning import Dropped, Kept, batches, keep, split_of
from preprocessing.corpus.working_files import cleaned_entry_name, documents_name, fingerprints_name
from preprocessing.dataset import ManifestEntry
from preprocessing.documents import Monitor, WorkItem, read_item
from preprocessing.storage import Store

_SCHEMA = pa.schema(
    [
        ("span", pa.int32()),
        ("read_bytes", pa.int64()),
        ("drop", pa.string()),  # the cause to drop the document; null: keep it
        ("text", pa.large_string()),
        ("text_bytes", pa.int64()),
        ("digest", pa.binary(32)),
        ("copies", pa.int64()),
        ("is_split", pa.bool_()),
        ("repairs", pa.list_(pa.string())),
        ("corpus", pa.int32()),
    ]
)
_PACKED = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))


class CleanedEntry(ManifestEntry):
    """The counts of a work item's files."""

    documents: int  # of the input, including dropped ones
    compared: int
    lines: int  # in the compared documents


def is_cleaned(item: WorkItem, work: Store) -> bool:
    """Return whether the item's files exist."""
    return work.size(cleaned_entry_name(item)) is not None


def write_cleaned(item: WorkItem, config: TextConfig, work: Store, monitor: Monitor) -> None:
    """Write the item's files, unless they exist."""
    if is_cleaned(item, work):
        monitor.meter.bytes += item.size
        return
    documents = compared = lines = 0
    schema = fingerprint_schema(config)
    outcomes = (keep(document, config) for document in read_item(item, config, monitor))
    with (
        work.write(documents_name(item)) as texts,
        work.write(fingerprints_name(item)) as prints,
        pa.ipc.new_stream(texts, _SCHEMA, options=_PACKED) as text_writer,
        pa.ipc.new_stream(prints, schema) as print_writer,
    ):
        for batch in batches(outcomes):
            text_writer.write_batch(_table(batch))
            kept = [document for document in batch if isinstance(document, Kept)]
            numbers = [documents + place for place, document in enumerate(batch) if isinstance(document, Kept)]
            print_writer.write_batch(_fingerprint(kept, numbers, schema))
            documents += len(batch)
            compared += len(kept)
            lines += sum(document.text.count("\n") + 1 for document in kept)
    entry = CleanedEntry(documents=documents, compared=compared, lines=lines)
    work.write_text(cleaned_entry_name(item), entry.model_dump_json())


def read_entry(item: WorkItem, work: Store) -> CleanedEntry:
    """Return the counts of the item's files."""
    content = work.read(cleaned_entry_name(item))
    assert content is not None, "every item is cleaned"
    return CleanedEntry.model_validate_json(content)


def read_cleaned(item: WorkItem, config: CleaningConfig, work: Store, monitor: Monitor) -> Iterator[Kept | Dropped]:
    """Yield each cleaned document of the item, or its cause to be dropped. `monitor` counts them, and can stop it."""
    total = read_entry(item, work).documents
    seen = reported = 0
    with work.open(documents_name(item)) as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            for span, read_bytes, drop, text, text_bytes, digest, copies, is_split, repairs, corpus in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                monitor.documents += 1
                monitor.visit()
                if drop is not None:
                    yield Dropped(drop, span, read_bytes)
                    continue
                split = split_of(digest, config.held_out_fraction)
                of_text = (text, text_bytes, digest, split, copies, is_split, tuple(repairs), corpus)
                yield Kept(*of_text, span, read_bytes)
            seen += len(batch)
            monitor.meter.bytes += item.size * seen // total - reported
            reported = item.size * seen // total


def _fingerprint(documents: Sequence[Kept], numbers: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
    texts, digests = [document.text for document in documents], [document.digest for document in documents]
    return fingerprint(texts, digests, numbers, schema)


def _table(batch: Sequence[Kept | Dropped]) -> pa.RecordBatch:
    nothing = (None,) * (len(_SCHEMA) - 3)
    rows = [
        (document.span, document.read_bytes, document.cause, *nothing)
        if isinstance(document, Dropped)
        else (
            document.span,
            document.read_bytes,
            None,
            document.text,
            document.text_bytes,
            document.digest,
            document.copies,
            document.is_split,
            document.repairs,
            document.corpus,
        )
        for document in batch
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=_SCHEMA)
