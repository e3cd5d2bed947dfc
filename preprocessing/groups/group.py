"""A group on disk: one shard per split and pass, and a side file.

The side file is renamed into place last: its presence means that the group is finished. A rerun skips a finished group
whose shards still match their digests, and so makes only missing and damaged groups. The side file ends with a
checksum.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

from pydantic import ValidationError

from configs.records import with_checksum, without_checksum
from configs.schema import RowsConfig
from preprocessing.corpus import Dropped
from preprocessing.dataset import (
    CorpusFigures,
    DamagedShardError,
    FileCounts,
    ManifestEntry,
    PassLosses,
    PiecesInNoRow,
    ShardEntry,
    Split,
    Statistics,
    add_shard,
    check_shard,
)
from preprocessing.documents import WorkItem
from preprocessing.groups.group_figures import add_losses, figures_by_corpus, statistics_of
from preprocessing.judgement import count_spans
from preprocessing.resuming import GROUPS
from preprocessing.rows import (
    Coverage,
    EncodedDocument,
    Outcome,
    Pairs,
    TokenizedDocuments,
    make_pairs,
    mask_pairs,
    provenance_of,
    tokenized,
)
from preprocessing.storage import Store
from preprocessing.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_HEAD_BYTES = 1 << 14
_FILE_END = b"}\n"
_HEAD_END = b',"drops":'  # the next field of `GroupEntry`; no name of a file or split holds a quotation mark

Head = TypeVar("Head", bound="GroupHead")


class GroupHead(ManifestEntry):
    """The beginning of a group's side file: what a rerun needs to know."""

    digest: str  # of what the group is made from: see `GroupKeys`
    name: str
    is_last: bool  # group of its work item
    sources: int  # number of input documents in the group, including dropped ones
    shards: list[ShardEntry]


class GroupEntry(GroupHead):
    """A group's side file. Its figures are long, since they count each entry of the vocabulary."""

    drops: dict[str, int]
    statistics: Statistics
    losses: list[PassLosses]
    in_no_row: PiecesInNoRow  # of any pass of the training split
    corpora: list[CorpusFigures]
    spans: dict[int, FileCounts]  # by the span's place in the work item


def group_name(item: WorkItem, number: int) -> str:
    """Return the name of a work item's group, e.g. "00012.0003"."""
    return f"{item.name}.{number:04}"


def read_group(store: Store, name: str, digest: str) -> GroupEntry | None:
    """Return the group's side file, or None if it is missing or was not made from what `digest` names.

    Removes a damaged side file, so that the next run makes the group again.
    """
    side_file = f"{GROUPS}/{name}.json"
    content = store.read(side_file)
    entry = _parsed(content)
    if content is not None and entry is None:
        logger.warning("%s/%s is damaged; run the same command again to make its group again", store.place, side_file)
        store.remove(side_file)
    return entry if entry is not None and entry.digest == digest else None


def _parsed(content: bytes | None) -> GroupEntry | None:
    text = without_checksum(content or b"")
    try:
        return GroupEntry.model_validate_json(text) if text is not None else None
    except ValidationError:
        return None


def read_intact_head(store: Store, name: str, digest: str) -> GroupHead | None:
    """Return the head of the group's side file, or None if it or one of the group's shards is missing or damaged.

    Shards are read only if they have changed since the side file was written.
    """
    side_file = f"{GROUPS}/{name}.json"
    stamp = store.stamp(side_file)
    head = _read_head(store, side_file, stamp.size) if stamp else None
    if stamp is None or head is None or head.digest != digest:
        return None
    try:
        for shard in head.shards:
            check_shard(store, shard, stamp.changed_ns)
    except DamagedShardError:
        return None
    return head


def _read_head(store: Store, side_file: str, size: int) -> GroupHead | None:
    """Return the head of a side file of `size` bytes, or None if it is damaged."""
    content = store.read_range(side_file, 0, min(size, _HEAD_BYTES))
    if _HEAD_END not in content and size > _HEAD_BYTES:  # unusually many shards
        content = store.read(side_file) or b""
    end = content if len(content) == size else store.read_range(side_file, max(0, size - len(_FILE_END)), size)
    if not end.endswith(_FILE_END):
        return None
    head, _, _ = content.partition(_HEAD_END)
    try:
        return GroupHead.model_validate_json(head + b"}")
    except ValidationError:
        return None


def finished_groups(
    store: Store, item: WorkItem, digest: str, read: Callable[[Store, str, str], Head | None]
) -> Iterator[Head]:
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
        drops = Counter(outcome.cause for outcome in outcomes if isinstance(outcome, Dropped))
        drops.update(repair for document in documents for repair in document.repairs)
        documents = [document for document in documents for _ in range(document.copies)]
        training = self._write_split(name, "train", documents)
        parts = [training, *self._write_held_out(name, documents)]
        for part in parts:
            drops.update(part.first_pass.drops)
        entry = GroupEntry(
            digest=digest,
            name=name,
            is_last=is_last,
            sources=len(outcomes),
            shards=[shard for part in parts for shard in part.shards],
            drops=dict(+drops),
            statistics=statistics_of(documents, training.first_pass, self.config, self.vocabulary),
            losses=add_losses(losses for part in parts for losses in part.losses),
            in_no_row=training.in_no_row,
            corpora=list(figures_by_corpus(documents, training.documents, training.first_pass)),
            spans=count_spans(outcomes),
        )
        side_file = f"{GROUPS}/{name}.json"
        replaced = _parsed(self.store.read(side_file))
        self.store.write_text(side_file, with_checksum(entry.model_dump_json(by_alias=True)) + "\n")
        if replaced is not None:  # made of other text, which can have had shards that this text does not have
            for shard in {shard.name for shard in replaced.shards} - {shard.name for shard in entry.shards}:
                self.store.remove(shard)
        return entry

    def _write_held_out(self, name: str, documents: Sequence[EncodedDocument]) -> Iterator[_Split]:
        """Write the held-out shards of a group, one for each corpus, so that training can report the losses of each.

        Equal documents of several corpora belong to the first one.
        """
        held_out = [document for document in documents if document.split == "held_out"]
        corpus_of = {document.digest: document.corpus for document in reversed(held_out)}
        for corpus in sorted(set(corpus_of.values())) or [0]:
            of_corpus = [document for document in held_out if corpus_of[document.digest] == corpus]
            yield self._write_split(name, "held_out", of_corpus, corpus)

    def _write_split(
        self, name: str, split: Split, documents: Sequence[EncodedDocument], corpus: int | None = None
    ) -> _Split:
        """Write the shards of a group's split: one for each pass, or one if it is held out."""
        of_split = tokenized([document for document in documents if document.split == split])
        coverage = Coverage(of_split)
        shards, losses = [], []
        passes: list[Pairs] = []
        for pass_number in range(self.config.dupe_factor if split == "train" else 1):
            self.visit()
            pairs = make_pairs(of_split, self.config, self.vocabulary.entry(), pass_number)
            losses.append(coverage.add(pairs, split, pass_number))
            passes = passes or [pairs]  # only the first one is needed again
            if len(pairs):
                shards.append(self._write_shard(name, split, pass_number, pairs, of_split, corpus))
        return _Split(of_split, shards, losses, coverage.in_no_row_of_any_pass(), passes[0])

    def _write_shard(
        self,
        name: str,
        split: Split,
        pass_number: int,
        pairs: Pairs,
        documents: TokenizedDocuments,
        corpus: int | None,
    ) -> ShardEntry:
        rows = mask_pairs(pairs, self.config, self.vocabulary, pass_number)
        if self.config.provenance:
            rows = replace(rows, provenance=provenance_of(pairs, documents))
        vocabulary = self.vocabulary.entry().sha256
        return add_shard(self.store, name, split, pass_number, rows, vocabulary, int(pairs.forced.sum()), corpus)


@dataclass(frozen=True)
class _Split:
    """What is written of a group's split."""

    documents: TokenizedDocuments
    shards: list[ShardEntry]
    losses: list[PassLosses]
    in_no_row: PiecesInNoRow
    first_pass: Pairs
