"""Build the manifest from the groups' side files."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from configs.schema import RowsConfig
from preprocessing.dataset import (
    CorpusFigures,
    FileCounts,
    Manifest,
    PassLosses,
    PiecesInNoRow,
    ShardEntry,
    VocabularyEntry,
)
from preprocessing.documents import Plan, WorkItem
from preprocessing.groups.group import finished_groups, read_group
from preprocessing.groups.group_figures import StatisticsSum, add_corpora, add_losses
from preprocessing.groups.group_keys import GroupKeys
from preprocessing.judgement import add_counts, with_counts
from preprocessing.resuming import Identity
from preprocessing.storage import Store


@dataclass
class GroupSums:
    """The sums over the finished groups of a data set."""

    groups: set[str] = field(default_factory=set)  # their names
    unfinished: list[WorkItem] = field(default_factory=list)  # at least one group has no side file
    shards: list[ShardEntry] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    statistics: StatisticsSum = field(default_factory=StatisticsSum)
    losses: list[PassLosses] = field(default_factory=list)
    in_no_row: PiecesInNoRow = field(default_factory=PiecesInNoRow)
    corpora: list[CorpusFigures] = field(default_factory=list)
    files: dict[int, FileCounts] = field(default_factory=dict)  # by the file's place in the plan


def sum_groups(store: Store, plan: Plan, keys: GroupKeys) -> GroupSums:
    """Read each side file of the data set once, and return the sums."""
    sums = GroupSums()
    for item in plan.items:
        is_finished = False
        for entry in finished_groups(store, item, keys.of(item), read_group):
            is_finished = entry.is_last
            sums.groups.add(entry.name)
            sums.shards += entry.shards
            sums.drops.update(entry.drops)
            sums.losses = add_losses([*sums.losses, *entry.losses])
            sums.in_no_row += entry.in_no_row
            sums.corpora = add_corpora([*sums.corpora, *entry.corpora])
            add_counts(sums.files, item, entry.spans)
            sums.statistics.add(entry.statistics)
        if not is_finished:
            sums.unfinished.append(item)
    return sums


def build_manifest(
    sums: GroupSums, plan: Plan, identity: Identity, config: RowsConfig, vocabulary: VocabularyEntry
) -> Manifest:
    """Return the manifest of a data set whose groups are all finished."""
    return Manifest(
        objective=config.objective,
        max_seq_length=config.max_seq_length,
        max_predictions_per_seq=config.max_predictions_per_seq,
        dupe_factor=config.dupe_factor,
        recipe=identity.recipe,
        digest=identity.data_set_digest(vocabulary.sha256),
        input_digest=identity.input_digest,
        inputs=with_counts(plan.inputs, sums.files),
        item_numbers=list(identity.item_numbers),
        vocabulary=vocabulary,
        shards=sorted(sums.shards, key=lambda shard: shard.name),
        drops=dict(sorted(sums.drops.items())),
        statistics=sums.statistics.total(),  # a plan has at least one item, and an item at least one group
        losses=sums.losses,
        in_no_row=sums.in_no_row,
        corpora=sums.corpora,
    )
