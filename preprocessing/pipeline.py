"""Raw text to a data set: plan, vocabulary, groups, manifest.

    input files ─► plan ─► work items ─► groups: shards and a side file each ─► manifest
                               │            ▲
                               └► sample ─► vocabulary                 (unless one is given)

Both arrows that leave the work items are Beam pipelines of one coarse step: a worker takes an item and writes files;
only names go through Beam. Files are renamed into place and never change after, so what was cut short is run again,
and neither the number of workers nor the order of their work leaves a trace in the bytes.
"""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from configs.files import atomic_write_text, sha256_of_file
from configs.schema import DataConfig
from preprocessing.beam import beam
from preprocessing.collect import build_manifest, refuse_few_documents
from preprocessing.contract import VOCABULARY, Manifest, write_manifest
from preprocessing.folder import WORK, Job, check_ownership, claimed, damage, discard, finished_data_set, release
from preprocessing.group import GROUPS
from preprocessing.plan import Plan, make_plan
from preprocessing.progress import Progress, forget, sum_up
from preprocessing.runner import run_pipeline
from preprocessing.sample import read_entries, sampled_lines, sampling_rate
from preprocessing.sources import find_files
from preprocessing.steps import SampleText, WriteGroups
from preprocessing.vocabulary import Vocabulary
from preprocessing.vocabulary_files import read_vocabulary
from preprocessing.vocabulary_training import train_vocabulary

_BYTES_WORTH_A_WORKER = 10_000_000  # a process takes as long to start as it would to prepare these
_VOCABULARY_RECORD = "vocabulary.json"  # beside the groups' side files: whose the trained vocabulary is

logger = logging.getLogger(__name__)

Report = Callable[[Progress], None]


def prepare(config: DataConfig, *, overwrite: bool = False, progress: Report | None = None) -> Manifest:
    """Make the data set that `config` describes; or finish one, or find it whole.

    What an earlier run has finished is kept if its digests still fit. `progress` is called a few times a second.
    Raises `UserError` for input that cannot be used and for a folder that holds something else; with `overwrite` a
    data set of another recipe is replaced.
    """
    folder = Path(config.dataset).expanduser().absolute()
    plan = _plan(config, folder)
    given = _given_vocabulary(config)
    job = Job(config.byte_fields(), plan.input_digest, given.entry().sha256 if given else None)
    check_ownership(folder)
    if not overwrite:
        finished = finished_data_set(folder, job)
        damaged = damage(folder, finished) if finished else []
        if finished and not damaged:
            return finished
        for message in damaged:
            logger.warning("%s; it is made again", message)
    with claimed(folder, job, overwrite=overwrite):
        preparation = _Preparation(folder, config, plan, job, progress or (lambda _: None), time.monotonic())
        vocabulary = preparation.provide_vocabulary(given)
        preparation.write_groups(vocabulary)
        try:
            manifest = build_manifest(folder, config, job, plan, vocabulary.entry())
        except UserError:
            discard(folder)  # finished, but of no use
            raise
        write_manifest(folder, manifest)
        release(folder)
    return manifest


@dataclass(frozen=True)
class _Preparation:
    """The stages of one run."""

    folder: Path
    config: DataConfig
    plan: Plan
    job: Job
    progress: Report
    start_s: float

    def provide_vocabulary(self, given: Vocabulary | None) -> Vocabulary:
        """Put the vocabulary in its place: the given one, the one an earlier run trained, or a new one."""
        path = self.folder / VOCABULARY
        record = self.folder / GROUPS / _VOCABULARY_RECORD
        if given is None and path.is_file() and record.is_file():
            expected = {"job": self.job.digest, "sha256": sha256_of_file(path)}
            if json.loads(record.read_text()) == expected:
                casing = self.config.vocabulary
                return Vocabulary.read(path, casing.lowercase, casing.strip_accents)
        vocabulary = given or self.train_vocabulary()
        vocabulary.write(path)
        atomic_write_text(record, json.dumps({"job": self.job.digest, "sha256": vocabulary.entry().sha256}))
        return vocabulary

    def train_vocabulary(self) -> Vocabulary:
        """Sample the corpus, and train on the sample."""
        work = self.folder / WORK
        rate = sampling_rate(self.plan, self.config.vocabulary.sample_bytes)
        self._run("vocabulary", SampleText(self.folder, self.config, rate))
        entries = list(read_entries(self.plan, work))
        documents = sum(entry.documents for entry in entries)
        if rate == 1.0 or documents == 0:
            drops: Counter[str] = sum((Counter(entry.drops) for entry in entries), Counter())
            refuse_few_documents(documents, drops, self.config)
        return train_vocabulary(sampled_lines(self.plan, work), self.config.vocabulary)

    def write_groups(self, vocabulary: Vocabulary) -> None:
        """Make all groups that are not finished."""
        digest = self.job.data_set_digest(vocabulary.entry().sha256)
        self._run("groups", WriteGroups(self.folder, self.config, digest))

    def _run(self, stage: str, step: beam.DoFn) -> None:
        """A Beam pipeline: every work item through one step."""
        items = sorted(self.plan.items, key=lambda item: -item.weight)  # the longest first, to end together
        workers = min(self.config.workers or self._default_workers(), len(items))

        def build(pipeline: beam.Pipeline) -> None:
            _ = pipeline | "work items" >> beam.Create(items) | "deal" >> beam.Reshuffle() | stage >> beam.ParDo(step)

        def tick() -> None:
            read, documents, groups = sum_up(self.folder / WORK)
            seconds = time.monotonic() - self.start_s
            total = self.plan.input_bytes
            self.progress(Progress(stage, min(read, total), total, documents, groups, seconds))

        forget(self.folder / WORK)
        run_pipeline(build, workers, self.folder / WORK, tick)

    def _default_workers(self) -> int:
        """One a CPU core, unless the corpus is so small that starting them would take longer than the work."""
        worth_starting = sum(item.weight for item in self.plan.items) // _BYTES_WORTH_A_WORKER
        return max(1, min(len(os.sched_getaffinity(0)), worth_starting))


def _plan(config: DataConfig, folder: Path) -> Plan:
    if not config.corpora:
        mend = "name the text to prepare: [[data.corpora]] with paths and format"
        raise UserError("the recipe names no corpus", place="data.corpora", mend=mend)
    files = [find_files(corpus.paths) for corpus in config.corpora]
    inside = [file.path for corpus_files in files for file in corpus_files if Path(file.path).is_relative_to(folder)]
    if inside:
        mend = "put data.dataset outside of the corpus"
        raise UserError("an input file lies in the data set's own folder", place=inside[0], mend=mend)
    plan = make_plan(files, config)
    if not plan.items:
        refuse_few_documents(0, {}, config)
    return plan


def _given_vocabulary(config: DataConfig) -> Vocabulary | None:
    file = config.vocabulary.file
    return read_vocabulary(Path(file).expanduser(), config.vocabulary) if file else None
