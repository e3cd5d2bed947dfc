"""Raw text to a data set: plan, duplicates, vocabulary, groups, manifest.

    input files ─► plan ─► work items ──► groups: shards and a side file each ─► manifest
                            │      │      ▲
                            │      └► sample ─► vocabulary               (unless one is given)
                            └► cleaned text, fingerprints ─► what to drop      (if duplicates are removed)

Each arrow that leaves the work items is a Beam pipeline with one coarse step: a worker takes an item and writes files.
Only names pass through Beam. The later steps read the cleaned text if there is any. Workers rename finished files into
place and never change them afterwards, so a rerun repeats only interrupted work. Neither the number of workers nor the
order of their work affects the bytes.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig, TextConfig
from preprocessing.corpus import (
    decide,
    is_cleaned,
    is_decided,
    is_sampled,
    read_entries,
    require_datasketch,
    sampled_lines,
    sampling_rate,
    write_cleaned,
    write_sample,
)
from preprocessing.dataset import MANIFEST, Manifest, manifest_text
from preprocessing.documents import Plan, find_files, make_plan
from preprocessing.execution import (
    THIS_MACHINE,
    WHOLE,
    WORK,
    BeamEngine,
    GroupSums,
    Identity,
    ReportProgress,
    Share,
    Stages,
    WriteGroups,
    build_manifest,
    check_manifest,
    claimed,
    discard,
    find_finished,
    find_vocabulary,
    keep_vocabulary,
    refuse_few_documents,
    release,
    sum_groups,
)
from preprocessing.storage import Store, store_at
from preprocessing.vocabulary import Vocabulary, read_vocabulary, train_vocabulary


def prepare(
    config: DataConfig,
    *,
    overwrite: bool = False,
    progress: ReportProgress | None = None,
    engine: BeamEngine = THIS_MACHINE,
) -> Manifest:
    """Make the data set that `config` describes, or finish an interrupted one, and return its manifest.

    Work that an earlier run finished is kept if its digests still match. `progress` is called a few times per second.
    Raises `UserError` for unusable input and for a folder with other contents; `overwrite` replaces the data set of
    another recipe.
    """
    manifest = _prepare(config, WHOLE, overwrite, progress, engine)
    assert isinstance(manifest, Manifest), "the whole data set is one share"
    return manifest


def prepare_share(
    config: DataConfig, share: Share, *, progress: ReportProgress | None = None, engine: BeamEngine = THIS_MACHINE
) -> Manifest | list[int]:
    """Make one share of the data set's groups. Other shares can work in the folder at the same time.

    Returns the manifest if all shares are finished, else the numbers of the unfinished shares. The last share to end
    finishes the data set; a later run of any share, or of `prepare`, can finish it too.
    """
    return _prepare(config, share, False, progress, engine)


def _prepare(
    config: DataConfig, share: Share, overwrite: bool, progress: ReportProgress | None, engine: BeamEngine
) -> Manifest | list[int]:
    if config.duplicates == "near":
        require_datasketch()
    store = store_at(config.dataset)
    plan = _plan(config, store)
    file = config.vocabulary.file
    given = read_vocabulary(Path(file).expanduser(), config.vocabulary) if file else None
    identity = Identity(config.byte_fields(), plan.input_digest, given.entry().sha256 if given else None)
    finished = find_finished(store, identity, overwrite=overwrite)
    if finished.manifest and not finished.damage:
        release(store)
        return finished.manifest
    with claimed(store, identity, share, overwrite=overwrite):
        finished.reopen()
        stages = Stages(store, plan, share, engine, config.workers, progress or (lambda _: None))
        _find_duplicates(stages, config)
        vocabulary = None if given else find_vocabulary(store, identity, config.vocabulary)
        if vocabulary is None:
            vocabulary = given or _train_vocabulary(stages, config)
            keep_vocabulary(store, identity, vocabulary)
        sums = _write_groups(stages, config, identity.data_set_digest(vocabulary.entry().sha256))
        if sums.unfinished:
            return share.holders(plan, sums.unfinished)
        manifest = build_manifest(sums, identity, config, vocabulary.entry())
        _check(manifest, config, stages)
        store.write_text(MANIFEST, manifest_text(manifest))  # two shares can do so at once: they write the same bytes
    release(store)
    return manifest


def _plan(config: DataConfig, store: Store) -> Plan:
    if not config.corpora:
        fix = "name the text to prepare: [[data.corpora]] with paths and format"
        raise UserError("the recipe names no corpus", place="data.corpora", fix=fix)
    files = [find_files(corpus.paths) for corpus in config.corpora]
    inside = [file.path for corpus_files in files for file in corpus_files if store.holds(file.path)]
    if inside:
        fix = "set data.dataset to a folder outside the corpus"
        raise UserError("an input file is in the data set's own folder", place=inside[0], fix=fix)
    plan = make_plan(files, config)
    if not plan.items:
        refuse_few_documents(0, {}, config, config.objective)
    return plan


def _find_duplicates(stages: Stages, config: TextConfig) -> None:
    """Clean the corpus and decide which documents and lines to drop, if the recipe requests it."""
    work = stages.store.below(WORK)
    if config.compares_documents and not is_decided(work):
        clean = partial(write_cleaned, config=config, work=work)
        stages.run_all("duplicates", clean, lambda item: is_cleaned(item, work))
        decide(stages.plan, config, work)


def _train_vocabulary(stages: Stages, config: DataConfig) -> Vocabulary:
    """Sample the corpus and train a vocabulary on the sample."""
    work = stages.store.below(WORK)
    rate = sampling_rate(stages.plan, config.vocabulary.sample_bytes)
    sample = partial(write_sample, config=config, rate=rate, work=work)
    stages.run_all("vocabulary", sample, lambda item: is_sampled(item, work))
    entries = list(read_entries(stages.plan, work))
    documents = sum(entry.documents for entry in entries)
    if rate == 1.0 or documents == 0:
        drops: Counter[str] = sum((Counter(entry.drops) for entry in entries), Counter())
        refuse_few_documents(documents, drops, config, config.objective)
    return train_vocabulary(sampled_lines(stages.plan, work), config.vocabulary)


def _write_groups(stages: Stages, config: DataConfig, digest: str) -> GroupSums:
    """Make the unfinished groups of the share, then sum up all groups."""
    stages.run_own("groups", WriteGroups(stages.store, config, config, config.vocabulary, digest))
    sums = sum_groups(stages.store, stages.plan, digest)
    stages.refuse_undone(set(stages.share.own(stages.plan)).intersection(sums.unfinished))
    return sums


def _check(manifest: Manifest, config: DataConfig, stages: Stages) -> None:
    try:
        check_manifest(manifest, config, config.nsp_mode, config.dataset)
    except UserError:
        if stages.share == WHOLE:
            discard(stages.store)  # the data set is complete but unusable
        raise
