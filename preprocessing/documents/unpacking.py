"""Decompress files that cannot be cut, so that all workers can read them: the recipe's `unpack`.

A copy has a record with its digest, written after it. Each run, and each share, checks the copies that it finds before
it reads them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from configs.records import with_checksum, without_checksum
from configs.schema import ReadingConfig
from preprocessing.dataset import HashingStream, ManifestEntry
from preprocessing.documents.input_files import SourceFile, open_source
from preprocessing.documents.plan import Plan, WorkItem, make_plan, with_content
from preprocessing.documents.progress import Monitor
from preprocessing.documents.reader import refuse_changed_input
from preprocessing.documents.spans import FileSpan, is_splittable
from preprocessing.storage import Store, is_compressed

UNPACKED_FILES = "unpacked-*.json"  # the records
_COPY_BYTES = 1 << 20

logger = logging.getLogger(__name__)


class _Record(ManifestEntry):
    """What a decompressed copy must be."""

    bytes: int
    sha256: str


def is_in_the_way(span: FileSpan, config: ReadingConfig) -> bool:
    """Return whether the span is a file that only its compression keeps from being cut."""
    return span.end is None and is_compressed(span.place) and is_splittable(config.corpora[span.corpus])


def files_to_unpack(plan: Plan, config: ReadingConfig) -> list[WorkItem]:
    """Return a work item for each large compressed file that can be cut once it is decompressed."""
    spans = {span.path: span for item in plan.items if item.part_bytes for span in item.spans}
    chosen = [span for span in spans.values() if config.unpack and is_in_the_way(span, config)]
    return [
        WorkItem(number, (span,), plan.contents[span.path].sha256 if plan.contents else "")
        for number, span in enumerate(chosen)
    ]


def is_unpacked(item: WorkItem, work: Store) -> bool:
    """Return whether the file of the item is decompressed. `unpack` checks the copy's content."""
    record = _read_record(item, work)
    return record is not None and work.size(_name(item)) == record.bytes


def unpack(item: WorkItem, *, work: Store, monitor: Monitor) -> None:
    """Decompress the file of the item into the working folder, unless an intact copy is there."""
    if is_unpacked(item, work) and _is_intact(item, work, monitor):
        monitor.meter.bytes += item.size
        return
    with open_source(item.spans[0].path, monitor.meter) as stream, work.write(_name(item)) as copy:
        hashing = HashingStream(copy)
        while content := stream.read(_COPY_BYTES):
            monitor.visit()
            hashing.write(content)
        refuse_changed_input(item)
    record = _Record(bytes=hashing.size, sha256=hashing.hash.hexdigest())
    work.write_text(_record_name(item), with_checksum(record.model_dump_json()))


@contextmanager
def replacements_named(items: Sequence[WorkItem], work: Store) -> Iterator[None]:
    """Log a warning for each copy that an earlier run left and the block makes again: workers cannot log one."""
    names = [(_name(item), _record_name(item)) for item in items]
    before = [[work.stamp(name) for name in pair] for pair in names]
    yield
    for pair, stamps in zip(names, before, strict=True):
        if any(stamps) and stamps != [work.stamp(name) for name in pair]:
            logger.warning("%s: %s was damaged or incomplete; it is made again", work.place, pair[0])


def with_copies(plan: Plan, unpacked: list[WorkItem], config: ReadingConfig, work: Store) -> Plan:
    """Return the plan of the same files that reads their decompressed copies where there are any."""
    copies = {item.spans[0].path: SourceFile(f"{work.place}/{_name(item)}", _size(item, work)) for item in unpacked}
    return with_content(make_plan(plan.files, config, copies), plan.contents, config)


def _size(item: WorkItem, work: Store) -> int:
    size = work.size(_name(item))
    assert size is not None, "every file is unpacked"
    return size


def _is_intact(item: WorkItem, work: Store, monitor: Monitor) -> bool:
    digest, record = hashlib.sha256(), _read_record(item, work)
    with work.open(_name(item)) as stream:
        while content := stream.read(_COPY_BYTES):
            monitor.visit()
            digest.update(content)
    return record is not None and record.sha256 == digest.hexdigest()


def _read_record(item: WorkItem, work: Store) -> _Record | None:
    content = without_checksum(work.read(_record_name(item)) or b"")
    return _Record.model_validate_json(content) if content is not None else None


def _name(item: WorkItem) -> str:
    return f"unpacked-{item.work_name}"


def _record_name(item: WorkItem) -> str:
    return f"{_name(item)}.json"
