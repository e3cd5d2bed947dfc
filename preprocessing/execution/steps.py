"""The Beam step that does the work for one work item, and the work of writing groups.

A step writes files; only names pass through Beam.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Protocol, TypeVar

from configs.errors import UserError
from configs.schema import RowsConfig, TextConfig, VocabularyConfig
from preprocessing.corpus import read_corpus
from preprocessing.documents import Monitor, WorkItem, refuse_changed_input
from preprocessing.execution.engines import beam, reported, require_mark
from preprocessing.groups import GroupKeys, GroupWriter, finished_groups, group_name, read_intact_head
from preprocessing.resuming import WORK
from preprocessing.rows import cut_groups, encode_documents
from preprocessing.storage import Store
from preprocessing.vocabulary import SpanEncoder, Vocabulary, encoder_of, stored_vocabulary

_LEAST_DOCUMENTS = 32  # of a group, even of a small one: random segments come from other documents


class Named(Protocol):
    """A work item of any kind."""

    @property
    def name(self) -> str:
        """What names it in messages."""


Item = TypeVar("Item", bound=Named, contravariant=True)


class Work(Protocol[Item]):
    """Makes the files of a work item that are missing. `monitor` counts the input read and can stop the work."""

    def __call__(self, item: Item, *, monitor: Monitor) -> None:
        """Make the missing files."""


class Step(beam.DoFn):
    """Calls `work` for each work item, and reports its exceptions to the driver through the run's folder."""

    def __init__(self, store: Store, run: Store, work: Work[Any], mark: str) -> None:
        self._store = store
        self._run = run
        self._work = work
        self._mark = mark  # of the run's folder, as the driver sees it

    def setup(self) -> None:
        """Called once per worker. Raises `UserError` if the worker sees another folder than the driver."""
        require_mark(self._run, self._mark)
        self._monitor = Monitor(self._run)

    def process(self, item: Named) -> Iterator[str]:
        """Do the work for the item and yield the item's name."""
        with reported(self._run), self._store.explained():
            self._monitor.place = f"work item {item.name}"
            self._work(item, monitor=self._monitor)
            self._monitor.place = ""
            self._monitor.tell()
        yield item.name


@dataclass(frozen=True)
class WriteGroups:
    """The work of making the groups of a work item."""

    store: Store
    text: TextConfig
    rows: RowsConfig
    vocabulary_config: VocabularyConfig

    def __call__(self, item: WorkItem, *, monitor: Monitor) -> None:
        """Count the finished groups, then make the others."""
        vocabulary, encoder = self._vocabulary
        key = self._keys.of(item)
        groups = sources = 0  # finished groups, and the input documents in them
        for entry in finished_groups(self.store, item, key, read_intact_head):
            groups += 1
            sources += entry.sources
            monitor.groups += 1
            monitor.visit()
            if entry.is_last:
                monitor.documents += sources
                monitor.meter.bytes += item.size
                return
        writer = GroupWriter(self.store, self.rows, vocabulary, monitor.visit)
        documents = islice(read_corpus(item, self.text, self.store.below(WORK), monitor), sources, None)
        outcomes = encode_documents(documents, self.text.language_of, encoder)
        for number, (group, is_last) in enumerate(
            cut_groups(outcomes, self.text.group_bytes, _LEAST_DOCUMENTS), start=groups
        ):
            name = group_name(item, number)
            if read_intact_head(self.store, name, key) is None:
                if not self.text.compares_documents and not item.is_part:  # else it was read in an earlier stage
                    refuse_changed_input(item)
                writer.write(name, group, key, is_last=is_last)
            monitor.groups += 1

    @cached_property
    def _keys(self) -> GroupKeys:
        return GroupKeys(self._vocabulary[0].entry().sha256, self.text, self.store.below(WORK))

    @cached_property
    def _vocabulary(self) -> tuple[Vocabulary, SpanEncoder]:
        """Loaded once per worker, because the encoder caches every span of text that it encounters."""
        vocabulary = stored_vocabulary(self.store, self.vocabulary_config)
        if vocabulary is None:
            fix = "make sure that the workers reach this folder under this name, and run the same command again"
            raise UserError("the vocabulary is missing", place=self.store.place, fix=fix)
        return vocabulary, encoder_of(vocabulary)
