"""The Beam steps: what a worker does with a work item. Each writes files, and hands on names only."""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.corpus import read_corpus, write_cleaned, write_sample
from preprocessing.dataset import VOCABULARY
from preprocessing.documents import Monitor, WorkItem
from preprocessing.execution.beam_api import beam
from preprocessing.execution.folder import WORK
from preprocessing.execution.group import GroupWriter, finished_group, finished_groups, group_name
from preprocessing.execution.runner import reported
from preprocessing.rows import cut_groups, encode_documents
from preprocessing.storage import Store
from preprocessing.vocabulary import Encoder, Vocabulary


class CleanText(beam.DoFn):
    """Work item → its documents, cleaned, and their fingerprints."""

    def __init__(self, store: Store, run: Store, config: DataConfig) -> None:
        self._store = store
        self._run = run
        self._config = config

    def setup(self) -> None:
        """Once a worker."""
        self._monitor = Monitor(self._run)

    def process(self, item: WorkItem) -> Iterator[str]:
        """Gives the item's name."""
        with _explained(self._store, self._run):
            write_cleaned(item, self._config, self._store.below(WORK), self._monitor)
            self._monitor.tell()
        yield item.name


class SampleText(beam.DoFn):
    """Work item → its part of the text that the vocabulary is trained on."""

    def __init__(self, store: Store, run: Store, config: DataConfig, rate: float) -> None:
        self._store = store
        self._run = run
        self._config = config
        self._rate = rate

    def setup(self) -> None:
        """Once a worker."""
        self._monitor = Monitor(self._run)

    def process(self, item: WorkItem) -> Iterator[str]:
        """Gives the item's name."""
        with _explained(self._store, self._run):
            write_sample(item, self._config, self._rate, self._store.below(WORK), self._monitor)
            self._monitor.tell()
        yield item.name


class WriteGroups(beam.DoFn):
    """Work item → its groups."""

    def __init__(self, store: Store, run: Store, config: DataConfig, digest: str) -> None:
        self._store = store
        self._run = run
        self._config = config
        self._digest = digest

    def setup(self) -> None:
        """Once a worker: its encoder remembers every span of text that it has met."""
        with _explained(self._store, self._run):
            self._monitor = Monitor(self._run)
            casing = self._config.vocabulary
            content = self._store.read(VOCABULARY)
            if content is None:
                fix = "see that the workers reach it under this name, and run the same command again"
                raise UserError("there is no vocabulary", place=self._store.place, fix=fix)
            vocabulary = Vocabulary.parse(content, Path(VOCABULARY), casing.lowercase, casing.strip_accents)
            self._encoder = Encoder(vocabulary)
            self._writer = GroupWriter(self._store, self._config, vocabulary, self._digest, self._monitor.visit)

    def process(self, item: WorkItem) -> Iterator[str]:
        """Gives the names of the item's groups."""
        with _explained(self._store, self._run):
            names = self._write(item)
            self._monitor.tell()
        yield from names

    def _write(self, item: WorkItem) -> list[str]:
        names: list[str] = []
        sources = 0  # documents of the input that finished groups took up
        for entry in finished_groups(self._store, item, self._digest):
            names.append(entry.name)
            sources += entry.sources
            self._monitor.groups += 1
            self._monitor.visit()
            if entry.is_last:
                self._monitor.documents += sources
                self._monitor.meter.bytes += item.size
                return names
        documents = islice(read_corpus(item, self._config, self._store.below(WORK), self._monitor), sources, None)
        outcomes = encode_documents(documents, self._config.language, self._encoder)
        for group, is_last in cut_groups(outcomes, self._config.group_bytes):
            name = group_name(item, len(names))
            if finished_group(self._store, name, self._digest) is None:
                self._writer.write(name, group, is_last=is_last)
            names.append(name)
            self._monitor.groups += 1
        return names


@contextmanager
def _explained(store: Store, run: Store) -> Iterator[None]:
    with reported(run), store.explained():
        yield
