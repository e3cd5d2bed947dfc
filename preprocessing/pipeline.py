"""Raw text to a data set: plan, duplicates, vocabulary, groups, manifest.

    input files ─► plan, digests ─► work items ──► groups: shards and a side file each ─► manifest
                                     │      │      ▲
                                     │      └► sample ─► vocabulary               (unless one is given)
                                     └► cleaned text, fingerprints ─► what to drop      (if duplicates are removed)

Each arrow that leaves the work items is a Beam pipeline with one coarse step: a worker takes an item and writes files.
Only names pass through Beam. The later steps read the cleaned text if there is any. A compressed file that cannot be
cut is one work item until its text is cleaned; the parts of this text are the work items of later steps. Workers rename
finished files into place and never change them afterwards, so a rerun repeats only interrupted work. Finished work is
tied to the content of the input files that it was made from, so work on other content is never reused. Neither the
number of workers nor the order of their work affects the bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from configs.errors import UserError
from configs.schema import DataConfig, TextConfig
from preprocessing.comparison import require_datasketch
from preprocessing.corpus import (
    begin_comparison,
    check_decisions,
    end_comparison,
    is_cleaned,
    is_decided,
    is_sampled,
    read_entries,
    sampled_lines,
    sampling_rate,
    with_evaluation_digest,
    with_parts,
    write_cleaned,
    write_sample,
)
from preprocessing.dataset import MANIFEST, Manifest, manifest_text
from preprocessing.documents import (
    FORMATS,
    Plan,
    files_to_unpack,
    find_files,
    is_unpacked,
    make_plan,
    replacements_named,
    unpack,
    warn_of_markup,
    with_content,
    with_copies,
)
from preprocessing.execution import (
    THIS_MACHINE,
    BeamEngine,
    ReportProgress,
    Stages,
    WriteGroups,
    check_manifest,
    compare,
    expect,
    refuse_few_documents,
    refuse_small_disk,
    warn_of_large_items,
    worker_count,
)
from preprocessing.groups import GroupKeys, GroupSums, build_manifest, find_finished_groups, sum_groups
from preprocessing.judgement import judge
from preprocessing.resuming import (
    WHOLE,
    WORK,
    Identity,
    Share,
    begin,
    claimed,
    discard,
    find_finished,
    find_vocabulary,
    item_numbers,
    keep_vocabulary,
    kept_if_refused,
    prune,
    read_contents,
    release,
)
from preprocessing.storage import Store, store_at
from preprocessing.vocabulary import (
    Vocabulary,
    read_vocabulary,
    require_segmenter,
    require_words,
    train_byte_level_bpe,
    train_vocabulary,
)


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
    require_segmenter(config)
    config = with_evaluation_digest(config)
    store = store_at(config.dataset)
    plan = _plan(config, store)
    file = config.vocabulary.file
    given = read_vocabulary(Path(file).expanduser(), config.vocabulary, config.objective) if file else None
    if given:
        require_words(given, config)
    identity = Identity(config.byte_fields(), plan.input_digest, given.entry().sha256 if given else None)
    compares, trains = config.compares_documents, given is None
    unpacks, cleans = bool(files_to_unpack(plan, config)), any(item.part_bytes for item in plan.items)
    names = ["input", *["unpacking"] * unpacks, *["cleaning"] * (cleans and not compares)]
    names += [*["duplicates", "comparison"] * compares, *["vocabulary"] * trains, "groups"]
    stages = Stages(store, plan, share, engine, config.workers, progress or (lambda _: None), names)
    finished = find_finished(store, identity, overwrite=overwrite)
    if finished.manifest:
        if finished.records_content:
            stages, identity = _read_input(stages, config, identity)
        finished = finished.checked(identity, stages.plan)
        if finished.manifest and finished.is_complete:
            release(store, with_parts(stages.plan, store.below(WORK)).items if config.incremental else ())
            return finished.manifest
    expected = expect(plan, config, worker_count(config.workers, plan.items))
    refuse_small_disk(expected, store)
    warn_of_large_items(plan, config)
    for files, corpus in zip(plan.files, config.corpora, strict=True):
        warn_of_markup(files, corpus)
    stages = replace(stages, expected=str(expected))
    with claimed(store, identity, share, overwrite=overwrite):
        finished.reopen(incremental=config.incremental)
        if not stages.plan.inputs:
            stages, identity = _read_input(stages, config, identity)
        begin(store, identity, stages.plan.inputs, share)
        stages = _clean(_unpack(stages, config), config)
        vocabulary = None if given else find_vocabulary(store, identity, config.vocabulary)
        if vocabulary is None:
            own = given or finished.own_vocabulary(config.vocabulary)
            vocabulary = own or _train_vocabulary(stages, config)
            keep_vocabulary(store, identity, vocabulary)
        keys = GroupKeys(vocabulary.entry().sha256, config, store.below(WORK))
        stages = replace(stages, plan=finished.numbered(stages.plan, keys.of))
        identity = replace(identity, item_numbers=item_numbers(stages.plan))
        sums = _write_groups(stages, config, keys)
        if sums.unfinished:
            return share.holders(stages.plan, sums.unfinished)
        manifest = build_manifest(sums, stages.plan, identity, config, vocabulary.entry())
        _check(manifest, config, stages, vocabulary)
        store.write_text(MANIFEST, manifest_text(manifest))  # two shares can do so at once: they write the same bytes
        prune(store, sums.groups)
    release(store, stages.plan.items if config.incremental else ())
    return manifest


def _plan(config: DataConfig, store: Store) -> Plan:
    if not config.corpora:
        fix = "name the text to prepare: [[data.corpora]] with paths and format"
        raise UserError("the recipe names no corpus", place="data.corpora", fix=fix)
    files = [find_files(corpus.paths, FORMATS[corpus.format].side_files) for corpus in config.corpora]
    inside = [file.path for corpus_files in files for file in corpus_files if store.holds(file.path)]
    if inside:
        fix = "set data.dataset to a folder outside the corpus"
        raise UserError("an input file is in the data set's own folder", place=inside[0], fix=fix)
    plan = make_plan(files, config)
    if not plan.items:
        refuse_few_documents(0, {}, config, config.objective)
    return plan


def _read_input(stages: Stages, config: DataConfig, identity: Identity) -> tuple[Stages, Identity]:
    """Return the stages and the identity, tied to the content of the input files."""
    contents = read_contents(stages.store, stages.plan, stages.tick_input, stages.share)
    plan = with_content(stages.plan, contents, config)
    return replace(stages, plan=plan), replace(identity, input_digest=plan.input_digest)


def _unpack(stages: Stages, config: DataConfig) -> Stages:
    """Decompress what the recipe says, and return the stages with the plan that reads the copies."""
    items, work = files_to_unpack(stages.plan, config), stages.store.below(WORK)
    if not items:
        return stages
    of_items = replace(stages, plan=replace(stages.plan, items=tuple(items)))
    found = [item for item in items if is_unpacked(item, work)]  # a share reads copies that other shares have made
    with replacements_named(items, work):
        of_items.run_all("unpacking", partial(unpack, work=work), lambda item: is_unpacked(item, work), found)
    return replace(stages, plan=with_copies(stages.plan, items, config, work))


def _clean(stages: Stages, config: TextConfig) -> Stages:
    """Clean what is not cleaned while groups are made, and decide which documents and lines to drop.

    Returns the stages with the plan of what follows, which consists of parts where cleaned text is written in parts.
    """
    work = stages.store.below(WORK)
    clean = partial(write_cleaned, config=config, work=work)
    large = tuple(item for item in stages.plan.items if item.part_bytes)
    if config.compares_documents and not is_decided(work):
        stages.run_all("duplicates", clean, lambda item: is_cleaned(item, work))
    elif not all(is_cleaned(item, work) for item in large):
        of_large = replace(stages, plan=replace(stages.plan, items=large))
        of_large.run_all("cleaning", clean, lambda item: is_cleaned(item, work))
    stages = replace(stages, plan=with_parts(stages.plan, work))
    if config.compares_documents and is_decided(work):
        check_decisions(stages.plan, config, work)
    if config.compares_documents and not is_decided(work):
        comparison = begin_comparison(stages.plan, config, work)
        compare(stages, comparison)
        end_comparison(comparison)
    return stages


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
        with _discarding(stages):
            if rate < 1.0:
                size, fix = config.vocabulary.sample_bytes, "raise data.vocabulary.sample_bytes"
                raise UserError(f"the sample of {size:,} bytes holds no document", place="data.vocabulary", fix=fix)
            refuse_few_documents(documents, drops, config, config.objective)
    train = train_byte_level_bpe if config.vocabulary.kind == "tokenizer" else train_vocabulary
    return train(sampled_lines(stages.plan, work), config.vocabulary)


def _write_groups(stages: Stages, config: DataConfig, keys: GroupKeys) -> GroupSums:
    """Make the unfinished groups of the share, then sum up all groups."""
    finished = find_finished_groups(stages.store, stages.share.own(stages.plan), keys, stages.tick_groups)
    stages.run_own("groups", WriteGroups(stages.store, config, config, config.vocabulary), finished)
    sums = sum_groups(stages.store, stages.plan, keys)
    undone = set(stages.share.own(stages.plan)).intersection(sums.unfinished)
    stages.refuse_undone(len(undone), len(stages.plan.items))
    if not sums.unfinished:  # this share writes the manifest: what others have made can be damaged since
        others = stages.share.others(stages.plan)
        intact = find_finished_groups(stages.store, others, keys, stages.tick_groups).items
        sums.unfinished += [item for item in others if item not in intact]
    return sums


def _check(manifest: Manifest, config: DataConfig, stages: Stages, vocabulary: Vocabulary) -> None:
    with _discarding(stages):  # the data set is complete but unusable
        check_manifest(manifest, config, config.nsp_mode, config.dataset)
    paths = [file.path for files in stages.plan.files for file in files]
    with kept_if_refused(stages.store):
        judge(manifest, paths, config, vocabulary)


@contextmanager
def _discarding(stages: Stages) -> Iterator[None]:
    """Remove all finished work if the block raises `UserError`: no data set can be made of this corpus."""
    try:
        yield
    except UserError:
        if stages.share == WHOLE:
            discard(stages.store)
        raise
