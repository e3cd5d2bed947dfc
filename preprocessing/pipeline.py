"""Raw text to a data set: plan, duplicates, vocabulary, groups, manifest.

    input files ─► plan ─► work items ──► groups: shards and a side file each ─► manifest
                            │      │      ▲
                            │      └► sample ─► vocabulary               (unless one is given)
                            └► cleaned text, fingerprints ─► what to drop      (unless nothing is to be compared)

The arrows that leave the work items are Beam pipelines of one coarse step: a worker takes an item and writes files;
only names go through Beam. Once text is cleaned, the other steps begin with that. Files are renamed into place and
never change after, so what was cut short is run again, and neither the number of workers nor the order of their work
leaves a trace in the bytes.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.corpus import (
    decide,
    is_cleaned,
    is_decided,
    is_sampled,
    read_entries,
    require_datasketch,
    sampled_lines,
    sampling_rate,
)
from preprocessing.dataset import MANIFEST, VOCABULARY, Manifest, manifest_text
from preprocessing.documents import Plan, Progress, WorkItem, find_files, forget, make_plan, sum_up
from preprocessing.execution import (
    GROUPS,
    THIS_MACHINE,
    WHOLE,
    WORK,
    BeamEngine,
    CleanText,
    Identity,
    SampleText,
    Share,
    WriteGroups,
    beam,
    build_manifest,
    check_ownership,
    claimed,
    damage,
    discard,
    finished_data_set,
    refuse_few_documents,
    release,
    run_folder,
    run_pipeline,
    unfinished,
    withdraw,
)
from preprocessing.storage import Store, store_at
from preprocessing.vocabulary import Vocabulary, read_vocabulary, train_vocabulary

_BYTES_WORTH_A_WORKER = 10_000_000  # a process takes as long to start as it would to prepare these
_VOCABULARY_RECORD = f"{GROUPS}/vocabulary.json"  # beside the groups' side files: whose the trained vocabulary is

logger = logging.getLogger(__name__)

ReportProgress = Callable[[Progress], None]


def prepare(
    config: DataConfig,
    *,
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    engine: BeamEngine = THIS_MACHINE,
) -> Manifest:
    """Make the data set that `config` describes; or finish one, or find it whole.

    What an earlier run has finished is kept if its digests still fit. `progress` is called a few times a second.
    Raises `UserError` for input that cannot be used and for a folder that holds something else; with `overwrite` a
    data set of another recipe is replaced.
    """
    manifest = _prepare(config, WHOLE, overwrite, progress, engine)
    assert isinstance(manifest, Manifest), "one share is the whole"
    return manifest


def prepare_share(
    config: DataConfig, share: Share, *, progress: ReportProgress | None = None, engine: BeamEngine = THIS_MACHINE
) -> Manifest | list[int]:
    """Make one share of the data set's groups; other shares may be at work in the folder at the same time.

    Returns the manifest when this was the last one, or else the numbers of the shares that are not finished. A data set
    is finished by whichever share ends last, by a later run of any share, or by `prepare`.
    """
    return _prepare(config, share, False, progress, engine)


def _prepare(
    config: DataConfig, share: Share, overwrite: bool, progress: ReportProgress | None, engine: BeamEngine
) -> Manifest | list[int]:
    if config.duplicates == "near":
        require_datasketch()
    store = store_at(config.dataset)
    plan = _plan(config, store)
    given = _given_vocabulary(config)
    job = Identity(config.byte_fields(), plan.input_digest, given.entry().sha256 if given else None)
    check_ownership(store)
    finished = None if overwrite else finished_data_set(store, job)
    damaged = damage(store, finished) if finished else {}
    if finished and not damaged:
        release(store)
        return finished
    with claimed(store, job, share, overwrite=overwrite):
        if finished:
            for message in damaged.values():
                logger.warning("%s; it is made again", message)
            withdraw(store, finished, damaged)
        report = progress or (lambda _: None)
        preparation = _Preparation(store, config, plan, job, share, engine, report, time.monotonic())
        preparation.find_duplicates()
        vocabulary = preparation.provide_vocabulary(given)
        missing = preparation.write_groups(vocabulary)
        if missing:
            return share.holders(plan, missing)
        manifest = preparation.collect(vocabulary)
    release(store)
    return manifest


@dataclass(frozen=True)
class _Preparation:
    """The stages of one run."""

    store: Store
    config: DataConfig
    plan: Plan
    job: Identity
    share: Share
    engine: BeamEngine
    progress: ReportProgress
    start_s: float

    def find_duplicates(self) -> None:
        """Clean the corpus, and decide which of its documents and lines to drop, where the recipe asks for it."""
        work = self.store.below(WORK)
        if not self.config.compares_documents or is_decided(work):
            return
        self._run_everywhere(
            "duplicates", CleanText(self.store, self._run_folder, self.config), lambda item: is_cleaned(item, work)
        )
        decide(self.plan, self.config, work)

    def provide_vocabulary(self, given: Vocabulary | None) -> Vocabulary:
        """Put the vocabulary in its place: the given one, the one an earlier run trained, or a new one."""
        record, casing = self.store.read(_VOCABULARY_RECORD), self.config.vocabulary
        content = self.store.read(VOCABULARY)
        if given is None and content is not None and record == self._vocabulary_record(content):
            return Vocabulary.parse(content, Path(VOCABULARY), casing.lowercase, casing.strip_accents)
        vocabulary = given or self.train_vocabulary()
        for name, made in (
            (VOCABULARY, vocabulary.content()),
            (_VOCABULARY_RECORD, self._vocabulary_record(vocabulary.content())),
        ):
            with self.store.write(name) as stream:
                stream.write(made)
        return vocabulary

    def _vocabulary_record(self, content: bytes) -> bytes:
        return json.dumps({"job": self.job.digest, "sha256": hashlib.sha256(content).hexdigest()}).encode()

    def train_vocabulary(self) -> Vocabulary:
        """Sample the corpus, and train on the sample."""
        work = self.store.below(WORK)
        rate = sampling_rate(self.plan, self.config.vocabulary.sample_bytes)
        step = SampleText(self.store, self._run_folder, self.config, rate)
        self._run_everywhere("vocabulary", step, lambda item: is_sampled(item, work))
        entries = list(read_entries(self.plan, work))
        documents = sum(entry.documents for entry in entries)
        if rate == 1.0 or documents == 0:
            drops: Counter[str] = sum((Counter(entry.drops) for entry in entries), Counter())
            refuse_few_documents(documents, drops, self.config)
        return train_vocabulary(sampled_lines(self.plan, work), self.config.vocabulary)

    def write_groups(self, vocabulary: Vocabulary) -> list[WorkItem]:
        """Make all groups of the share that are not finished; returns the items of others that are not."""
        digest = self.job.data_set_digest(vocabulary.entry().sha256)
        own = self.share.own(self.plan)
        self._run("groups", WriteGroups(self.store, self._run_folder, self.config, digest), own)
        missing = unfinished(self.store, self.plan, digest)
        self._refuse_missing(set(own).intersection(missing))
        return missing

    def collect(self, vocabulary: Vocabulary) -> Manifest:
        """All groups are finished: write the manifest. Two shares may do so at once: they write the same."""
        try:
            manifest = build_manifest(self.store, self.config, self.job, self.plan, vocabulary.entry())
        except UserError:
            if self.share == WHOLE:
                discard(self.store)  # finished, but of no use
            raise
        self.store.write_text(MANIFEST, manifest_text(manifest))
        return manifest

    def _run_everywhere(self, stage: str, step: beam.DoFn, is_done: Callable[[WorkItem], bool]) -> None:
        """Do the share's part of what has to be done for all items first, then what is still missing of the others'."""
        self._run(stage, step, self.share.own(self.plan))
        self._run(stage, step, [item for item in self.share.others(self.plan) if not is_done(item)])
        self._refuse_missing([item for item in self.plan.items if not is_done(item)])

    def _refuse_missing(self, items: Collection[WorkItem]) -> None:
        """A runner said that all is well, but nothing came of it here: most often its workers have other disks."""
        if items:
            cause = f"the runner has ended, but {len(items)} of {len(self.plan.items)} work items are not done"
            fix = "its workers must reach this folder under the same name: take a shared file system or a URL"
            raise UserError(cause, place=self.store.place, fix=fix)

    @property
    def _run_folder(self) -> Store:
        return run_folder(self.store, self.share)

    def _run(self, stage: str, step: beam.DoFn, items: Sequence[WorkItem]) -> None:
        """A Beam pipeline: each of the work items through one step."""
        if not items:
            return
        workers = min(self.config.workers or self._default_workers(items), len(items))
        total = sum(item.size for item in items)

        def build(pipeline: beam.Pipeline) -> None:
            _ = pipeline | "work items" >> beam.Create(items) | "deal" >> beam.Reshuffle() | stage >> beam.ParDo(step)

        def tick() -> None:
            read, documents, groups = sum_up(self._run_folder)
            seconds = time.monotonic() - self.start_s
            self.progress(Progress(stage, min(read, total), total, documents, groups, seconds))

        forget(self._run_folder)
        run_pipeline(build, self.engine, workers, self._run_folder, tick)

    @staticmethod
    def _default_workers(items: Sequence[WorkItem]) -> int:
        """One a CPU core, unless there is so little to do that starting them would take longer than the work."""
        worth_starting = sum(item.weight for item in items) // _BYTES_WORTH_A_WORKER
        return max(1, min(len(os.sched_getaffinity(0)), worth_starting))


def _plan(config: DataConfig, store: Store) -> Plan:
    if not config.corpora:
        fix = "name the text to prepare: [[data.corpora]] with paths and format"
        raise UserError("the recipe names no corpus", place="data.corpora", fix=fix)
    files = [find_files(corpus.paths) for corpus in config.corpora]
    inside = [file.path for corpus_files in files for file in corpus_files if store.holds(file.path)]
    if inside:
        fix = "put data.dataset outside of the corpus"
        raise UserError("an input file lies in the data set's own folder", place=inside[0], fix=fix)
    plan = make_plan(files, config)
    if not plan.items:
        refuse_few_documents(0, {}, config)
    return plan


def _given_vocabulary(config: DataConfig) -> Vocabulary | None:
    file = config.vocabulary.file
    return read_vocabulary(Path(file).expanduser(), config.vocabulary) if file else None
