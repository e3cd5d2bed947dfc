"""The corpus cleaned, kept while it is compared: of each work item a file of its documents and one of fingerprints.

So a corpus is read and cleaned once, whatever is asked of all of it before the first group can be made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from configs.schema import CleaningConfig, TextConfig
from preprocessing.corpus.cleaning import Kept, batches, keep, split_of
from preprocessing.corpus.fingerprints import Fingerprints, fingerprint, fingerprint_schema, fingerprints_of
from preprocessing.dataset import ManifestEntry
from preprocessing.documents import Monitor, WorkItem, read_item
from preprocessing.storage import Store

_SCHEMA = pa.schema(
    [
        ("drop", pa.string()),  # why the document is dropped; null: it is not
        ("text", pa.large_string()),
        ("text_bytes", pa.int64()),
        ("digest", pa.binary(32)),
        ("copies", pa.int64()),
        ("is_split", pa.bool_()),
        ("repairs", pa.list_(pa.string())),
    ]
)
_PACKED = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))


class CleanedEntry(ManifestEntry):
    """What a work item's files hold."""

    documents: int  # of the input, dropped ones included
    compared: int
    lines: int  # of those


def is_cleaned(item: WorkItem, work: Store) -> bool:
    """Whether the item's files are there."""
    return work.size(_entry_name(item)) is not None


def write_cleaned(item: WorkItem, config: TextConfig, work: Store, monitor: Monitor) -> None:
    """Write the item's files, unless that is done."""
    if is_cleaned(item, work):
        monitor.meter.bytes += item.size
        return
    documents = compared = lines = 0
    schema = fingerprint_schema(config)
    outcomes = (keep(document, config) for document in read_item(item, config, monitor))
    with (
        work.write(_documents_name(item)) as texts,
        work.write(_fingerprints_name(item)) as prints,
        pa.ipc.new_stream(texts, _SCHEMA, options=_PACKED) as text_writer,
        pa.ipc.new_stream(prints, schema) as print_writer,
    ):
        for batch in batches(outcomes):
            text_writer.write_batch(_table(batch))
            kept = [document for document in batch if isinstance(document, Kept)]
            numbers = [documents + place for place, document in enumerate(batch) if isinstance(document, Kept)]
            print_writer.write_batch(fingerprint(kept, numbers, schema))
            documents += len(batch)
            compared += len(kept)
            lines += sum(document.text.count("\n") + 1 for document in kept)
    entry = CleanedEntry(documents=documents, compared=compared, lines=lines)
    work.write_text(_entry_name(item), entry.model_dump_json())


def read_entry(item: WorkItem, work: Store) -> CleanedEntry:
    """What the item's files hold."""
    content = work.read(_entry_name(item))
    assert content is not None, "every item is cleaned"
    return CleanedEntry.model_validate_json(content)


def read_cleaned(item: WorkItem, config: CleaningConfig, work: Store, monitor: Monitor) -> Iterator[Kept | str]:
    """The item's documents as they were cleaned, or why they are dropped; `monitor` counts them, and may stop it."""
    total = read_entry(item, work).documents
    seen = told = 0
    with work.open(_documents_name(item)) as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            for drop, text, text_bytes, digest, copies, is_split, repairs in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                monitor.documents += 1
                monitor.visit()
                split = split_of(digest, config.held_out_fraction) if drop is None else "train"
                yield drop or Kept(text, text_bytes, digest, split, copies, is_split, tuple(repairs))
            seen += len(batch)
            monitor.meter.bytes += item.size * seen // total - told
            told = item.size * seen // total


def read_fingerprints(item: WorkItem, work: Store) -> Iterator[Fingerprints]:
    """Those of all documents of the item that are to be compared, some at a time."""
    with work.open(_fingerprints_name(item)) as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            yield fingerprints_of(batch)


def _table(batch: Sequence[Kept | str]) -> pa.RecordBatch:
    nothing = (None,) * (len(_SCHEMA) - 1)
    rows = [
        (document, *nothing)
        if isinstance(document, str)
        else (
            None,
            document.text,
            document.text_bytes,
            document.digest,
            document.copies,
            document.is_split,
            document.repairs,
        )
        for document in batch
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=_SCHEMA)


def _documents_name(item: WorkItem) -> str:
    return f"cleaned-{item.name}.arrow"


def _fingerprints_name(item: WorkItem) -> str:
    return f"fingerprints-{item.name}.arrow"


def _entry_name(item: WorkItem) -> str:
    return f"cleaned-{item.name}.json"
