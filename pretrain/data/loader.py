"""Data sets as this rank's ragged batches, step after step.

A step's rows follow from the global order and the cursor; their lengths from the shards' offsets; who takes which from
`deal`. Every rank works this out for the whole global batch and reads only its own rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pretrain.data.dataset import Dataset
from pretrain.data.mixture import Mixture
from pretrain.data.order import GlobalOrder
from pretrain.data.skipped_rows import RowRange, past
from pretrain.data.step import Step, StepReader

STEPS_AHEAD = 2  # a step's rows are read while the two before it are trained


class Loader:
    """The training rows of data sets, for one rank. Its whole state is the cursor, and the caller keeps that.

    Several data sets are mixed by their `weights`; they have one vocabulary.
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
        self._reader = StepReader(datasets[0].manifest.vocabulary, shards, rank, world_size, micro_batch_size)

    def step(self, cursor: int, global_batch_size: int) -> Step:
        """The step that takes `global_batch_size` rows from `cursor` on. Pure: the same arguments, the same step."""
        self._reader.shards.expect(
            now=self.order.shards(cursor, global_batch_size),
            later=self.order.shards(cursor, global_batch_size + self._window_rows),
        )
        return self._reader.step(cursor, *self.order.rows(cursor, global_batch_size))

    def steps(self, cursor: int, batch_sizes: Iterable[int], skipped: Sequence[RowRange] = ()) -> Generator[Step]:
        """One step after another from `cursor` on, of these global batch sizes; none begins in a skipped range.

        A thread reads ahead, sizes too. `close` the iterator when it is left before its end.
        """
        return _read_ahead(self.step, _with_cursors(cursor, batch_sizes, skipped))

    def names(self, step: Step, micro_step: int) -> list[str]:
        """The rows of one of this rank's micro-batches, for a message: files, and rows in them."""
        return self._reader.shards.names(*step.origins[micro_step])


class HeldOut:
    """The evaluation's rows: the first of the held-out shards of pass 0, in their order."""

    def __init__(self, dataset: Dataset, *, max_rows: int, rank: int, world_size: int, micro_batch_size: int) -> None:
        entries = dataset.manifest.select("held_out", 0)
        self._rows_of = np.array([entry.rows for entry in entries], dtype=np.int64)
        self.rows = min(max_rows, int(self._rows_of.sum()))
        self._chunk = world_size * micro_batch_size
        shards = [(dataset, entry) for entry in entries]
        self._reader = StepReader(dataset.manifest.vocabulary, shards, rank, world_size, micro_batch_size)

    def steps(self) -> Generator[Step]:
        """All its rows, each step one micro-batch a rank; sums over steps and ranks are those over the rows."""
        sizes = (min(self._chunk, self.rows - cursor) for cursor in range(0, self.rows, self._chunk))
        return _read_ahead(self._step, _with_cursors(0, sizes))

    def _step(self, cursor: int, count: int) -> Step:
        places = np.arange(cursor, cursor + count)
        ends = self._rows_of.cumsum()
        shards = np.searchsorted(ends, places, side="right")
        return self._reader.step(cursor, shards, places - (ends - self._rows_of)[shards])


def rows_of_passes(dataset: Dataset) -> list[list[int]]:
    """The rows of each training shard, pass by pass."""
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
    """The results of `read(*call)`, in order, made by one thread that stays `STEPS_AHEAD` ahead.

    What `read` raises, the consumer meets at the step that it belongs to. Closing the iterator ends the thread.
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
