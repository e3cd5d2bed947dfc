"""A data set as this rank's ragged batches, step after step.

A step's rows follow from the global order and the cursor; their lengths from the shards' offsets; who takes which from
`deal`. Every rank works this out for the whole global batch and reads only its own rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from preprocessing.contract import Manifest
from pretrain.order import GlobalOrder
from pretrain.step import Step, StepReader

STEPS_AHEAD = 2  # a step's rows are read while the two before it are trained


class Loader:
    """The training rows of a data set, for one rank. Its whole state is the cursor, and the caller keeps that."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        seed: int,
        shuffle_window_rows: int,
        rank: int,
        world_size: int,
        micro_batch_size: int,
    ) -> None:
        passes = [manifest.select("train", number) for number in range(manifest.dupe_factor)]
        rows_of_passes = [[entry.rows for entry in entries] for entries in passes]
        self.order = GlobalOrder(rows_of_passes, seed=seed, shuffle_window_rows=shuffle_window_rows)
        entries = [entry for entries in passes for entry in entries]
        self._reader = StepReader(folder, manifest, entries, rank, world_size, micro_batch_size)

    def step(self, cursor: int, global_batch_size: int) -> Step:
        """The step that takes `global_batch_size` rows from `cursor` on. Pure: the same arguments, the same step."""
        return self._reader.step(cursor, *self.order.rows(cursor, global_batch_size))

    def steps(self, cursor: int, batch_sizes: Iterable[int]) -> Generator[Step]:
        """One step after another from `cursor` on, of these global batch sizes.

        A thread reads ahead, sizes too. `close` the iterator when it is left before its end.
        """
        return _read_ahead(self.step, _with_cursors(cursor, batch_sizes))


class HeldOut:
    """The evaluation's rows: the first of the held-out shards of pass 0, in their order."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        max_rows: int,
        rank: int,
        world_size: int,
        micro_batch_size: int,
    ) -> None:
        entries = manifest.select("held_out", 0)
        self._rows_of = np.array([entry.rows for entry in entries], dtype=np.int64)
        self.rows = min(max_rows, int(self._rows_of.sum()))
        self._chunk = world_size * micro_batch_size
        self._reader = StepReader(folder, manifest, entries, rank, world_size, micro_batch_size)

    def steps(self) -> Generator[Step]:
        """All its rows, each step one micro-batch a rank; sums over steps and ranks are those over the rows."""
        sizes = (min(self._chunk, self.rows - cursor) for cursor in range(0, self.rows, self._chunk))
        return _read_ahead(self._step, _with_cursors(0, sizes))

    def _step(self, cursor: int, count: int) -> Step:
        places = np.arange(cursor, cursor + count)
        ends = self._rows_of.cumsum()
        shards = np.searchsorted(ends, places, side="right")
        return self._reader.step(cursor, shards, places - (ends - self._rows_of)[shards])


def _with_cursors(cursor: int, batch_sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    for size in batch_sizes:
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
