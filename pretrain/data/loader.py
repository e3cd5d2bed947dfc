"""Read data sets as this rank's ragged batches, step by step.

The global order and the cursor determine a step's rows, the shards' offsets their lengths, and `deal` which rank takes
which row. Every rank computes this for the global batch and reads only its own rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from preprocessing.dataset import Manifest, ShardEntry
from pretrain.data.dataset import Dataset
from pretrain.data.mixture import Mixture
from pretrain.data.order import GlobalOrder
from pretrain.data.skipped_rows import RowRange, past
from pretrain.data.step import Step, StepReader
from pretrain.model import Padding

STEPS_AHEAD = 2  # a step's rows are read while the two before it are trained


class Loader:
    """Loads the training rows of one rank. Its only state is the cursor, which the caller keeps.

    Several data sets are mixed by their `weights`; they must share one vocabulary. With `predicts_next`, the same rows
    come unmasked, and each token is predicted at the one before it.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        weights: Sequence[float] = (1.0,),
        *,
        seed: int,
        shuffle_window_rows: int,
        rank: int,
        world_size: int,
        micro_batch_size: int,
        micro_batch_tokens: int = 0,
        predicts_next: bool = False,
        pad_tokens_to: int = 1,
    ) -> None:
        self._window_rows = shuffle_window_rows
        orders = [
            GlobalOrder(rows_of_passes(dataset), seed=seed, shuffle_window_rows=shuffle_window_rows, source=number)
            for number, dataset in enumerate(datasets)
        ]
        self.order = orders[0] if len(orders) == 1 else Mixture(orders, weights, seed=seed)
        shards = [
            (dataset, entry)
            for dataset in datasets
            for number in range(dataset.manifest.dupe_factor)
            for entry in dataset.manifest.select("train", number)
        ]
        longest = max(dataset.manifest.max_seq_length for dataset in datasets)
        self._reader = StepReader(
            datasets[0].manifest.vocabulary,
            shards,
            rank,
            world_size,
            micro_batch_size,
            micro_batch_tokens=micro_batch_tokens,
            predicts_next=predicts_next,
            padding=Padding(pad_tokens_to, longest),
        )

    def step(self, cursor: int, global_batch_size: int) -> Step:
        """Return the step with the `global_batch_size` rows from `cursor` on. The result depends on nothing else."""
        self._reader.shards.expect(
            now=self.order.shards(cursor, global_batch_size),
            later=self.order.shards(cursor, global_batch_size + self._window_rows),
        )
        return self._reader.step(cursor, *self.order.rows(cursor, global_batch_size))

    def steps(self, cursor: int, batch_sizes: Iterable[int], skipped: Sequence[RowRange] = ()) -> Generator[Step]:
        """Yield the steps from `cursor` on with these global batch sizes. No step begins in a skipped range.

        A thread reads ahead, and consumes the sizes ahead. Call `close` on an iterator that is not exhausted.
        """
        return _read_ahead(self.step, _with_cursors(cursor, batch_sizes, skipped))

    def names(self, step: Step, micro_step: int) -> list[str]:
        """Return the rows of one of this rank's micro-batches as text: files, and row numbers in them."""
        return self._reader.shards.names(*step.origins[micro_step])


class HeldOut:
    """The rows of an evaluation: the first rows of held-out shards, in order."""

    def __init__(
        self,
        dataset: Dataset,
        entries: Sequence[ShardEntry] | None = None,  # None: all held-out shards of pass 0
        *,
        max_rows: int,
        rank: int,
        world_size: int,
        micro_batch_size: int,
        micro_batch_tokens: int = 0,
        predicts_next: bool = False,
    ) -> None:
        self._entries = entries = dataset.manifest.select("held_out", 0) if entries is None else entries
        self._rows_of = np.array([entry.rows for entry in entries], dtype=np.int64)
        self.rows = min(max_rows, int(self._rows_of.sum()))
        self._chunk = world_size * micro_batch_size
        shards = [(dataset, entry) for entry in entries]
        self._reader = StepReader(
            dataset.manifest.vocabulary,
            shards,
            rank,
            world_size,
            micro_batch_size,
            micro_batch_tokens=micro_batch_tokens,
            predicts_next=predicts_next,
        )

    def steps(self) -> Generator[Step]:
        """Yield steps that cover all rows exactly once, of one micro-batch per rank, or of more if tokens bound it."""
        sizes = (min(self._chunk, self.rows - cursor) for cursor in range(0, self.rows, self._chunk))
        return _read_ahead(self._step, _with_cursors(0, sizes))

    def check(self) -> Iterator[ShardEntry]:
        """Check the shards of these rows, and yield each afterwards. Raises `UserError` for a damaged one."""
        first_rows = self._rows_of.cumsum() - self._rows_of
        for number in np.flatnonzero((first_rows < self.rows) & (self._rows_of > 0)).tolist():
            self._reader.shards.check(number)
            yield self._entries[number]

    def _step(self, cursor: int, count: int) -> Step:
        places = np.arange(cursor, cursor + count)
        ends = self._rows_of.cumsum()
        shards = np.searchsorted(ends, places, side="right")
        return self._reader.step(cursor, shards, places - (ends - self._rows_of)[shards])


def held_out_by_corpus(manifest: Manifest, max_rows: int) -> dict[int, tuple[list[ShardEntry], int]]:
    """Return the held-out shards of pass 0 of each corpus, and how many of their rows to evaluate.

    `max_rows` are divided evenly; what a corpus lacks falls to the others. Data sets of format 1 have one corpus.
    """
    shards: dict[int, list[ShardEntry]] = {}
    for entry in manifest.select("held_out", 0):
        shards.setdefault(entry.corpus or 0, []).append(entry)
    rows = {corpus: sum(entry.rows for entry in entries) for corpus, entries in shards.items()}
    parts: dict[int, tuple[list[ShardEntry], int]] = {}
    for number, corpus in enumerate(sorted(rows, key=lambda corpus: (rows[corpus], corpus))):  # the smallest first
        taken = min(rows[corpus], max_rows // (len(rows) - number))
        parts[corpus] = shards[corpus], taken
        max_rows -= taken
    return {corpus: parts[corpus] for corpus in sorted(parts)}


def rows_of_passes(dataset: Dataset) -> list[list[int]]:
    """Return the number of rows of each training shard, pass by pass."""
    manifest = dataset.manifest
    return [[entry.rows for entry in manifest.select("train", number)] for number in range(manifest.dupe_factor)]


def _with_cursors(
    cursor: int, batch_sizes: Iterable[int], skipped: Sequence[RowRange] = ()
) -> Iterator[tuple[int, int]]:
    for size in batch_sizes:
        cursor = past(cursor, skipped)
        yield cursor, size
        cursor += size


def _read_ahead(read: Callable[[int, int], Step], calls: Iterable[tuple[int, int]]) -> Generator[Step]:
    """Yield the results of `read(*call)` in order, computed by one thread that stays `STEPS_AHEAD` ahead.

    An exception of `read` is raised at the step that it belongs to. Closing the iterator ends the thread.
    """
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
    ahead: deque[Future[Step]] = deque()
    try:
        for call in calls:
            ahead.append(thread.submit(read, *call))
            if len(ahead) > STEPS_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
