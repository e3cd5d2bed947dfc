"""A step: the rows of one global batch, and this rank's share of them as micro-batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocessing.dataset import ShardEntry, VocabularyEntry
from pretrain.data.dataset import Dataset
from pretrain.data.deal import deal
from pretrain.data.order import Int64Array
from pretrain.data.shards import Shards
from pretrain.model import Batch, Padding, filler_batch, padded


@dataclass(frozen=True)
class Step:
    """One optimizer step: this rank's micro-batches, and totals over all ranks."""

    cursor: int  # training rows consumed before this step
    batches: list[Batch]  # one per micro-step; every rank has the same number
    origins: list[tuple[Int64Array, Int64Array]]  # per batch: the rows' shard numbers and their indexes in the shards
    rows: int
    tokens: int
    lengths: Int64Array  # tokens of each row, in the global order
    masked_tokens: int  # or, from left to right, all predicted tokens
    rows_digest: str  # 16 hexadecimal digits: identifies the rows and their order; the same at any world size
    padding_pct: float  # tokens of filler rows; without them, positions that padding to the longest row would add; in %
    imbalance_pct: float  # tokens of the fullest rank beyond the mean of the ranks, in %


class StepReader:
    """Reads one rank's part of a step from shards with one vocabulary.

    With `predicts_next`, rows are unmasked, and each token is predicted at the one before it.
    """

    def __init__(
        self,
        vocabulary: VocabularyEntry,
        shards: Sequence[tuple[Dataset, ShardEntry]],
        rank: int,
        world_size: int,
        micro_batch_size: int,
        *,
        micro_batch_tokens: int = 0,
        predicts_next: bool = False,
        padding: Padding | None = None,
    ) -> None:
        self.shards = Shards(shards)
        self._predicts_next = predicts_next
        self._padding, self._specials = padding or Padding(), (vocabulary.cls_id, vocabulary.sep_id)
        self._filler = filler_batch(*self._specials)
        self._rank = rank
        self._world_size = world_size
        self._micro_batch_size = micro_batch_size
        self._micro_batch_tokens = micro_batch_tokens

    def step(self, cursor: int, shards: Int64Array, rows: Int64Array) -> Step:
        """Return the step with G rows, given by shard number and index, shape [G] each. `cursor` is only recorded."""
        lengths, masked = self.shards.sizes(shards, rows)
        homes, accumulation = deal(lengths, self._world_size, self._micro_batch_size, self._micro_batch_tokens)
        predicted = self.shards.predictable(shards, rows) if self._predicts_next else masked
        padding_pct, imbalance_pct = self._waste(homes, accumulation, lengths, predicted)
        batches, origins = self._batches(homes, accumulation, shards, rows, lengths, masked, predicted)
        return Step(
            cursor=cursor,
            batches=batches,
            origins=origins,
            rows=len(rows),
            tokens=int(lengths.sum()),
            lengths=lengths,
            masked_tokens=int(predicted.sum()),
            rows_digest=hashlib.blake2b(np.stack([shards, rows]).astype("<i8").tobytes(), digest_size=8).hexdigest(),
            padding_pct=padding_pct,
            imbalance_pct=imbalance_pct,
        )

    def _batches(
        self, homes: Int64Array, accumulation: int, *columns: Int64Array
    ) -> tuple[list[Batch], list[tuple[Int64Array, Int64Array]]]:
        """Return this rank's micro-batches and their rows' origins; rows keep the global order within a batch."""
        first = self._rank * accumulation
        mine = np.flatnonzero((homes >= first) & (homes < first + accumulation))
        mine = mine[np.argsort(homes[mine], kind="stable")]
        shards, rows, lengths, masked, predicted = (column[mine] for column in columns)
        gathered = self.shards.gather(shards, rows, lengths, masked)
        if self._predicts_next:
            gathered = gathered.predicting_next(predicted)
        ends = np.bincount(homes[mine] - first, minlength=accumulation).cumsum().tolist()
        cuts = list(zip([0, *ends], ends, strict=False))
        batches = [gathered.batch(begin, end) if end > begin else self._filler for begin, end in cuts]
        batches = [padded(batch, self._padding, *self._specials) for batch in batches]
        return batches, [(shards[begin:end], rows[begin:end]) for begin, end in cuts]

    def _waste(
        self, homes: Int64Array, accumulation: int, lengths: Int64Array, predicted: Int64Array
    ) -> tuple[float, float]:
        """Return `padding_pct` and `imbalance_pct` of a step."""
        count = self._world_size * accumulation
        if self._padding.rows:
            tokens, masks = (_sums(column, homes, count) for column in (lengths, predicted))
            tokens = np.maximum(tokens, len(self._filler.input_ids))  # of a micro-batch without rows
            positions = int(self._padding.sizes(tokens, masks)[0].sum())
        else:
            longest = np.zeros(count, np.int64)
            np.maximum.at(longest, homes, lengths)
            positions = int(longest[homes].sum())
        tokens_of = np.bincount(homes // accumulation, weights=lengths, minlength=self._world_size)
        return 100 * (1 - int(lengths.sum()) / positions), 100 * (float(tokens_of.max() / tokens_of.mean()) - 1)


def _sums(column: Int64Array, homes: Int64Array, count: int) -> Int64Array:
    """Return the sums of a column by micro-batch."""
    sums = np.zeros(count, np.int64)
    np.add.at(sums, homes, column)
    return sums
