"""The text for vocabulary training: the training split, or a uniform sample if it is larger than requested.

Each work item writes its part to a separate file, so that a rerun does not read it again.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator

from configs.records import with_checksum, without_checksum
from configs.schema import TextConfig
from preprocessing.comparison import damaged
from preprocessing.corpus.cleaning import Dropped
from preprocessing.corpus.corpus import read_corpus
from preprocessing.corpus.working_files import sample_entry_name, sample_name
from preprocessing.dataset import HashingStream, ManifestEntry
from preprocessing.documents import Monitor, Plan, WorkItem
from preprocessing.storage import Store


class SampleEntry(ManifestEntry):
    """The counts of a work item's part of the sample."""

    documents: int
    drops: dict[str, int]
    sha256: str  # of the text


def sampling_rate(plan: Plan, sample_bytes: int) -> float:
    """Return the fraction of documents to sample, from the plan's expected text. 1 if that fits `sample_bytes`."""
    return min(1.0, sample_bytes / max(1, sum(item.weight for item in plan.items)))


def is_sampled(item: WorkItem, work: Store) -> bool:
    """Return whether the item's part exists. A damaged one is removed when it is read."""
    return _read_entry(item, work) is not None and work.size(sample_name(item)) is not None


def write_sample(item: WorkItem, config: TextConfig, rate: float, work: Store, monitor: Monitor) -> None:
    """Write the item's part, unless it exists."""
    if is_sampled(item, work):
        monitor.meter.bytes += item.size
        return
    documents = 0
    drops: Counter[str] = Counter()
    with work.write(sample_name(item)) as file:
        stream = HashingStream(file)
        for kept in read_corpus(item, config, work, monitor, lambda text: rate >= 1.0 or _fraction(text) < rate):
            if isinstance(kept, Dropped):
                drops[kept.cause] += 1
            elif kept.split == "train":
                documents += 1
                stream.write((kept.text.encode() + b"\n") * kept.times)  # words count as often as they are trained on
    entry = SampleEntry(documents=documents, drops=dict(drops), sha256=stream.hash.hexdigest())
    work.write_text(sample_entry_name(item), with_checksum(entry.model_dump_json()))


def read_entries(plan: Plan, work: Store) -> Iterator[SampleEntry]:
    """Yield the counts of all parts. Raises `UserError` for a damaged part."""
    for item in plan.items:
        entry = _read_entry(item, work)
        if entry is None:
            raise damaged(work, sample_entry_name(item))
        if work.sha256(sample_name(item)) != entry.sha256:
            raise damaged(work, sample_name(item))
        yield entry


def sampled_lines(plan: Plan, work: Store) -> Iterator[str]:
    """Yield the lines of all parts, in the corpus's order."""
    for item in plan.items:
        with work.open(sample_name(item)) as stored, io.TextIOWrapper(stored, "utf-8", newline="\n") as stream:
            yield from stream


def _read_entry(item: WorkItem, work: Store) -> SampleEntry | None:
    content = without_checksum(work.read(sample_entry_name(item)) or b"")
    return SampleEntry.model_validate_json(content) if content is not None else None


def _fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text only."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
