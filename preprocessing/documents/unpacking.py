"""Decompress files that cannot be cut, so that all workers can read them: the recipe's `unpack`."""

from __future__ import annotations

from configs.schema import ReadingConfig
from preprocessing.documents.input_files import SourceFile, open_source
from preprocessing.documents.plan import Plan, WorkItem, make_plan, with_content
from preprocessing.documents.progress import Monitor
from preprocessing.documents.reader import refuse_changed_input
from preprocessing.documents.spans import FileSpan, is_splittable
from preprocessing.storage import Store, is_compressed

UNPACKED_FILES = "unpacked-*"
_COPY_BYTES = 1 << 20


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
    """Return whether the file of the item is decompressed."""
    return work.size(_name(item)) is not None


def unpack(item: WorkItem, *, work: Store, monitor: Monitor) -> None:
    """Decompress the file of the item into the working folder, unless it is there."""
    if is_unpacked(item, work):
        monitor.meter.bytes += item.size
        return
    with open_source(item.spans[0].path, monitor.meter) as stream, work.write(_name(item)) as copy:
        while content := stream.read(_COPY_BYTES):
            monitor.visit()
            copy.write(content)
        refuse_changed_input(item)


def with_copies(plan: Plan, unpacked: list[WorkItem], config: ReadingConfig, work: Store) -> Plan:
    """Return the plan of the same files that reads their decompressed copies where there are any."""
    copies = {item.spans[0].path: SourceFile(f"{work.place}/{_name(item)}", _size(item, work)) for item in unpacked}
    return with_content(make_plan(plan.files, config, copies), plan.contents, config)


def _size(item: WorkItem, work: Store) -> int:
    size = work.size(_name(item))
    assert size is not None, "every file is unpacked"
    return size


def _name(item: WorkItem) -> str:
    return f"unpacked-{item.work_name}"
