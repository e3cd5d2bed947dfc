"""Temporary files of the cleaned corpus: for each work item, one file of documents and one of fingerprints.

With them, a corpus is read and cleaned only once, even when all documents must be compared before the first group. One
worker cleans a compressed file that cannot be cut, and writes its text in parts. Later stages treat each part as a work
item, so all workers share what follows. A worker that is stopped resumes after the last finished part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from typing import IO

import pyarrow as pa

from configs.errors import UserError
from configs.records import with_checksum, without_checksum
from configs.schema import CleaningConfig, TextConfig
from preprocessing.comparison import damaged, fingerprint, fingerprint_schema, open_sealed, write_sealed
from preprocessing.corpus.cleaning import Dropped, Kept, batches, keep, split_of
from preprocessing.corpus.cuts import cut_evenly
from preprocessing.corpus.working_files import BOILERPLATE, cleaned_entry_name, documents_name, fingerprints_name
from preprocessing.dataset import ManifestEntry
from preprocessing.documents import Document, Monitor, Plan, WorkItem, in_parts, read_item, refuse_changed_input
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
_DROPPED_BYTES = 100  # about what a dropped document takes in memory
_PACKED = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", 1))


class CleanedEntry(ManifestEntry):
    """The counts of a work item's files, or the number of its parts, which have files of their own."""

    documents: int = 0  # of the input, including dropped ones
    compared: int = 0
    lines: int = 0  # in the compared documents
    parts: int = 0  # of an item whose cleaned text is written in parts
    is_last: bool = False  # of its item's parts


def is_cleaned(item: WorkItem, work: Store) -> bool:
    """Return whether the item's files, or those of its parts, exist. A damaged file is removed when it is read."""
    entry = _read_entry(item, work)
    if entry is None:
        return False
    if entry.parts:
        return all(is_cleaned(item.part(number), work) for number in range(entry.parts))
    return all(work.size(name) is not None for name in (documents_name(item), fingerprints_name(item)))


def write_cleaned(item: WorkItem, config: TextConfig, work: Store, monitor: Monitor) -> None:
    """Write the item's files, or those of its parts, unless they exist."""
    if is_cleaned(item, work):
        monitor.meter.bytes += item.size
        return
    documents = read_item(item, config, monitor)
    if not item.part_bytes:
        _write(item, (keep(document, config) for document in documents), config, work)
        return
    _write_entry(item, CleanedEntry(parts=_write_parts(item, documents, config, work)), work)


def with_parts(plan: Plan, work: Store) -> Plan:
    """Return the plan with each item replaced by its parts, if its cleaned text is there in parts."""
    return in_parts(
        plan, lambda item: read_entry(item, work).parts if item.part_bytes and is_cleaned(item, work) else 0
    )


def _write_parts(item: WorkItem, documents: Iterator[Document], config: TextConfig, work: Store) -> int:
    """Write the parts that are not finished. Return the number of all parts."""
    number, is_complete = _skip_finished_parts(item, documents, work)
    if is_complete:
        return number
    outcomes = (keep(document, config) for document in documents)
    for part, is_last in cut_evenly(outcomes, _size_of, item.part_bytes):
        refuse_changed_input(item)
        _write(item.part(number), part, config, work, is_last=is_last)
        number += 1
    return number


def _size_of(outcome: Kept | Dropped) -> int:
    return outcome.text_bytes if isinstance(outcome, Kept) else _DROPPED_BYTES


def _skip_finished_parts(item: WorkItem, documents: Iterator[Document], work: Store) -> tuple[int, bool]:
    """Skip the documents of finished parts. Return the number of these parts, and whether they are all."""
    for number in count():
        part = item.part(number)
        if not is_cleaned(part, work):
            return number, False
        entry = read_entry(part, work)
        if entry.is_last:
            return number + 1, True
        deque(islice(documents, entry.documents), maxlen=0)
    raise AssertionError("the loop returns")


def _write(
    item: WorkItem, outcomes: Iterable[Kept | Dropped], config: TextConfig, work: Store, *, is_last: bool = False
) -> None:
    documents = compared = lines = 0
    schema = fingerprint_schema(config)
    with (
        write_sealed(work, documents_name(item)) as texts,
        write_sealed(work, fingerprints_name(item)) as prints,
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
    _write_entry(item, CleanedEntry(documents=documents, compared=compared, lines=lines, is_last=is_last), work)


def _write_entry(item: WorkItem, entry: CleanedEntry, work: Store) -> None:
    work.write_text(cleaned_entry_name(item), with_checksum(entry.model_dump_json()))


def read_entry(item: WorkItem, work: Store) -> CleanedEntry:
    """Return the counts of the item's files. Raises `UserError` if they are damaged."""
    entry = _read_entry(item, work)
    if entry is None:
        work.remove(BOILERPLATE)  # the comparison's end, so that a rerun looks for items that are not cleaned
        raise damaged(work, cleaned_entry_name(item))
    return entry


def _read_entry(item: WorkItem, work: Store) -> CleanedEntry | None:
    content = without_checksum(work.read(cleaned_entry_name(item)) or b"")
    return CleanedEntry.model_validate_json(content) if content is not None else None


def read_cleaned(item: WorkItem, config: CleaningConfig, work: Store, monitor: Monitor) -> Iterator[Kept | Dropped]:
    """Yield each cleaned document of the item, or its cause to be dropped. `monitor` counts them, and can stop it.

    Raises `UserError` if the item's files are damaged.
    """
    total = read_entry(item, work).documents
    seen = reported = 0
    with _open_documents(item, work) as stream, pa.ipc.open_stream(stream) as reader:
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


@contextmanager
def _open_documents(item: WorkItem, work: Store) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(open_sealed(work, documents_name(item)))
        except UserError:
            work.remove(BOILERPLATE)  # as in `read_entry`
            raise
        yield stream


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
