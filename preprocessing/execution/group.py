"""A group on disk: one shard per split and pass, and a side file.

The side file is renamed into place last: its presence means that the group is finished. A rerun skips a finished group
whose shards still match their digests, and so makes only missing and damaged groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from pydantic import ValidationError

from configs.schema import RowsConfig
from preprocessing.dataset import (
    SPLITS,
    DamagedShardError,
    ManifestEntry,
    ShardEntry,
    Split,
    Statistics,
    add_shard,
    check_shard,
)
from preprocessing.documents import WorkItem
from preprocessing.resuming import GROUPS
from preprocessing.rows import (
    FOLLOWS,
    RANDOM,
    EncodedDocument,
    Outcome,
    Pairs,
    make_pairs,
    mask_pairs,
    provenance_of,
    tokenized,
)
from preprocessing.storage import Store
from preprocessing.vocabulary import CLS, SEP, Vocabulary


class GroupEntry(ManifestEntry):
    """A group's side file."""

    digest: str  # of what the group is made from: see `GroupKeys`
    name: str
    is_last: bool  # group of its work item
    sources: int  # number of input documents in the group, including dropped ones
    shards: list[ShardEntry]
    drops: dict[str, int]
    statistics: Statistics


def group_name(item: WorkItem, number: int) -> str:
    """Return the name of a work item's group, e.g. "00012.0003"."""
    return f"{item.name}.{number:04}"


def read_group(store: Store, name: str, digest: str) -> GroupEntry | None:
    """Return the group's side file, or None if it is missing or was not made from what `digest` names."""
    content = store.read(f"{GROUPS}/{name}.json")
    try:
        entry = GroupEntry.model_validate_json(content) if content is not None else None
    except ValidationError:
        return None
    return entry if entry is not None and entry.digest == digest else None


def read_intact_group(store: Store, name: str, digest: str) -> GroupEntry | None:
    """Return the group's side file, or None if it or one of the group's shards is missing or damaged."""
    entry = read_group(store, name, digest)
    try:
        for shard in entry.shards if entry else ():
            check_shard(store, shard)
    except DamagedShardError:
        return None
    return entry


def finished_groups(
    store: Store, item: WorkItem, digest: str, read: Callable[[Store, str, str], GroupEntry | None]
) -> Iterator[GroupEntry]:
    """Yield the work item's groups in order, up to the first one that `read` does not find.

    The item is finished if the last yielded group has `is_last`.
    """
    for number in count():
        entry = read(store, group_name(item, number), digest)
        if entry is None:
            return
        yield entry
        if entry.is_last:
            return


@dataclass(frozen=True)
class GroupWriter:
    """Write the groups of one data set."""

    store: Store
    config: RowsConfig
    vocabulary: Vocabulary
    visit: Callable[[], None]  # called between passes; can raise to stop the work

    def write(self, name: str, outcomes: Sequence[Outcome], digest: str, *, is_last: bool) -> GroupEntry:
        """Write all masked pairs of a group to its shards, then the side file."""
        documents = [outcome for outcome in outcomes if isinstance(outcome, EncodedDocument)]
        drops = Counter(outcome for outcome in outcomes if isinstance(outcome, str))
        drops.update(repair for document in documents for repair in document.repairs)
        documents = [document for document in documents for _ in range(document.copies)]
        shards: list[ShardEntry] = []
        first_pass: dict[Split, Pairs] = {}
        for split in SPLITS:
            of_split = tokenized([document for document in documents if document.split == split])
            for pass_number in range(self.config.dupe_factor if split == "train" else 1):
                self.visit()
                pairs = make_pairs(of_split, self.config, self.vocabulary.entry(), pass_number)
                first_pass.setdefault(split, pairs)
                if len(pairs):
                    rows = mask_pairs(pairs, self.config, self.vocabulary, pass_number)
                    if self.config.provenance:
                        rows = replace(rows, provenance=provenance_of(pairs, of_split))
                    shards.append(add_shard(self.store, name, split, pass_number, rows, self.vocabulary.entry().sha256))
        for pairs in first_pass.values():
            drops.update(pairs.drops)
        entry = GroupEntry(
            digest=digest,
            name=name,
            is_last=is_last,
            sources=len(outcomes),
            shards=shards,
            drops=dict(+drops),
            statistics=_statistics(documents, first_pass["train"], self.config, self.vocabulary),
        )
        self.store.write_text(f"{GROUPS}/{name}.json", entry.model_dump_json(by_alias=True) + "\n")
        return entry


def add_statistics(one: Statistics, other: Statistics) -> Statistics:
    """Return the field-wise sum."""
    fields = zip(one.model_dump().items(), other.model_dump().values(), strict=True)
    return Statistics(**{name: np.add(value, added).tolist() for (name, value), added in fields})


def _statistics(
    documents: Sequence[EncodedDocument], pairs: Pairs, config: RowsConfig, vocabulary: Vocabulary
) -> Statistics:
    token_counts = np.bincount(pairs.input_ids, minlength=len(vocabulary))
    token_counts[[vocabulary.ids[CLS], vocabulary.ids[SEP]]] = 0  # added by the pairs, not part of the text
    return Statistics(
        documents=len(documents),
        sentences=sum(int(np.count_nonzero(document.sentence_lengths)) for document in documents),
        text_bytes=sum(document.text_bytes for document in documents),
        held_out_documents=sum(document.split == "held_out" for document in documents),
        random_next_pairs=int(pairs.next_sentence_label.sum()),
        forced_random_pairs=int((pairs.forced & (pairs.next_sentence_label == RANDOM)).sum()),
        forced_following_pairs=int((pairs.forced & (pairs.next_sentence_label == FOLLOWS)).sum()),
        repeated_pairs=pairs.repeated,
        drawn_targets=pairs.targets.drawn,
        short_targets=pairs.targets.short,
        length_histogram=np.bincount(np.diff(pairs.input_offsets), minlength=config.max_seq_length + 1).tolist(),
        token_counts=token_counts.tolist(),
    )
