"""From the groups' side files to the manifest; and corpora that no data set can be made of."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset import Manifest, ShardEntry, Statistics, VocabularyEntry
from preprocessing.documents import Plan, WorkItem
from preprocessing.execution.group import GroupEntry, add_statistics, group_name, read_group
from preprocessing.execution.identity import Identity
from preprocessing.storage import Store

logger = logging.getLogger(__name__)


def build_manifest(
    store: Store, config: DataConfig, job: Identity, plan: Plan, vocabulary: VocabularyEntry
) -> Manifest:
    """The manifest of a data set whose groups are all finished. `UserError` when there is nothing to train on."""
    shards: list[ShardEntry] = []
    drops: Counter[str] = Counter()
    statistics: Statistics | None = None
    for entry in _entries(store, plan):
        shards += entry.shards
        drops.update(entry.drops)
        statistics = add_statistics(statistics, entry.statistics) if statistics else entry.statistics
    assert statistics is not None, "a plan has an item, and an item a group"
    manifest = Manifest(
        objective=config.objective,
        max_seq_length=config.max_seq_length,
        max_predictions_per_seq=config.max_predictions_per_seq,
        dupe_factor=config.dupe_factor,
        recipe=job.recipe,
        digest=job.data_set_digest(vocabulary.sha256),
        input_digest=job.input_digest,
        vocabulary=vocabulary,
        shards=sorted(shards, key=lambda shard: shard.name),
        drops=dict(sorted(drops.items())),
        statistics=statistics,
    )
    _check(manifest, config)
    return manifest


def unfinished(store: Store, plan: Plan, digest: str) -> list[WorkItem]:
    """The work items of the data set of this digest that lack a group's side file."""
    return [item for item in plan.items if not _is_finished(store, item, digest)]


def refuse_few_documents(documents: int, drops: Mapping[str, int], config: DataConfig) -> None:
    """Raise `UserError` unless the training split holds a document; for `nsp` two, each to be the other's random B."""
    if documents >= (2 if config.objective == "nsp" else 1):
        return
    place = ", ".join(path for corpus in config.corpora for path in corpus.paths)
    counts = ", ".join(f"{count} {cause}" for cause, count in sorted(drops.items()))
    suffix = f" (dropped: {counts})" if counts else ""
    if documents == 0:
        fix = "mend data.corpora (paths, format, text_field), or lower min_document_chars or held_out_fraction"
        raise UserError(f"the corpus holds no document to train on{suffix}", place=place, fix=fix)
    cause = f"the corpus holds a single document to train on{suffix}, and next-sentence pairs take B from another one"
    parted = " (blank lines part them)" if any(corpus.format == "text" for corpus in config.corpora) else ""
    raise UserError(cause, place=place, fix=f"add documents, or part those that are there{parted}")


def _is_finished(store: Store, item: WorkItem, digest: str) -> bool:
    for number in count():
        entry = read_group(store, group_name(item, number))
        if entry is None or entry.digest != digest:
            return False
        if entry.is_last:
            break
    return True


def _entries(store: Store, plan: Plan) -> Iterator[GroupEntry]:
    for item in plan.items:
        for number in count():
            entry = read_group(store, group_name(item, number))
            assert entry is not None, "every group is finished"
            yield entry
            if entry.is_last:
                break


def _check(manifest: Manifest, config: DataConfig) -> None:
    statistics = manifest.statistics
    refuse_few_documents(statistics.documents - statistics.held_out_documents, manifest.drops, config)
    lonely = manifest.drops.get("no_other_document", 0)
    if config.objective == "nsp" and lonely == statistics.documents:
        cause = f"no next-sentence pair with a random B can be made: of {statistics.documents} documents {lonely} have"
        fix = "add documents that differ, or raise data.group_bytes"
        raise UserError(f"{cause} no other beside them in their group", place=config.dataset, fix=fix)
    if not manifest.select("train", 0):
        fix = "add longer documents"
        raise UserError("the corpus gives no pair to train on", place=config.dataset, fix=fix)
    if config.objective == "nsp" and statistics.sentences < 2 * statistics.documents:
        logger.warning(
            "the documents hold %.1f sentences on average: one of a single sentence %s; join what belongs together "
            'into documents, or set data.objective="none"',
            statistics.sentences / statistics.documents,
            "makes no pair" if config.nsp_mode == "balanced" else "has always a random next segment",
        )
    if config.held_out_fraction > 0 and not manifest.select("held_out", 0):
        logger.warning(
            "the held-out split is empty: none of %d documents fell into it; raise data.held_out_fraction (%g)",
            statistics.documents,
            config.held_out_fraction,
        )
