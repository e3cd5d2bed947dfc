"""A file of records in numbered regions: what one worker has for each of the workers of the next step.

The file begins with the byte position at which each region begins and the CRC-32 of its bytes, and with the end of the
last one (uint64), so that a reader of one region reads nothing else. The writer's memory is bounded; the rest lies in a
temporary file.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from configs.files import explain_write_errors
from preprocessing.storage import Store

_BUFFER_BYTES = 1 << 26  # of records in memory; about three times as much while they are sorted
_REGION = np.dtype([("start", "<u8"), ("crc", "<u8")])  # and one more behind the last region, for its end


class RegionWriter:
    """Collects records by region. A context manager, which removes its temporary file at the end."""

    def __init__(self, regions: int, record: np.dtype[Any]) -> None:
        self._regions = regions
        self._record = record
        self._number = np.dtype(np.uint16 if regions <= 1 << 16 else np.uint32)  # 16 bits are sorted faster
        self._waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._waiting_bytes = 0
        self._counts: list[NDArray[np.int64]] = []  # of each sorted run, the number of records in each region

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, region: NDArray[np.int64], records: NDArray[Any]) -> None:
        """Add records, each with the number of its region."""
        if not len(records):
            return
        self._waiting.append((region.astype(self._number), records))
        self._waiting_bytes += records.nbytes
        if self._waiting_bytes >= _BUFFER_BYTES:
            self._sort_waiting()

    def write(self, store: Store, name: str) -> None:
        """Write the file. Within a region, records are in the order in which they were added."""
        self._sort_waiting()
        sizes = sum(self._counts, np.zeros(self._regions, np.int64)) * self._record.itemsize
        table = np.zeros(self._regions + 1, _REGION)
        table["start"] = np.cumsum([table.nbytes, *sizes])
        for region, content in self._contents():
            table["crc"][region] = zlib.crc32(content, int(table["crc"][region]))
        with store.write(name) as stream:
            stream.write(table.tobytes())
            for _, content in self._contents():
                stream.write(content)

    def _sort_waiting(self) -> None:
        if not self._waiting:
            return
        regions, records = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        self._waiting, self._waiting_bytes = [], 0
        with explain_write_errors(Path(tempfile.gettempdir())):
            self._file.write(records[np.argsort(regions, kind="stable")].tobytes())
            self._file.flush()
        self._counts.append(np.bincount(regions, minlength=self._regions))

    def _contents(self) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes of each region in order, in parts, with its number."""
        if not self._counts:
            return
        sorted_runs: NDArray[Any] = np.memmap(self._file, self._record, "r")
        counts = np.stack(self._counts)
        places = np.cumsum(counts).reshape(counts.shape) - counts  # of each run's regions in the temporary file
        for region in np.flatnonzero(counts.any(axis=0)).tolist():
            for run in np.flatnonzero(counts[:, region]).tolist():
                start = places[run, region]
                yield region, sorted_runs[start : start + counts[run, region]].tobytes()


def read_region(store: Store, name: str, region: int, record: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the records of a region, in parts of limited size.

    Raises `UserError` for a damaged file, at the latest before the last part, and removes it, so that a rerun makes it
    again.
    """
    position = _REGION.itemsize * region
    table = store.read_range(name, position, position + 2 * _REGION.itemsize)
    if len(table) < 2 * _REGION.itemsize:
        raise damaged(store, name)
    (start, crc), (end, _) = np.frombuffer(table, _REGION).tolist()
    step = max(1, _BUFFER_BYTES // record.itemsize) * record.itemsize
    found = 0
    for begin in range(start, end, step):
        content = store.read_range(name, begin, min(begin + step, end))
        found = zlib.crc32(content, found)
        is_last = begin + step >= end
        if not content or len(content) % record.itemsize or (is_last and found != crc):
            raise damaged(store, name)
        yield np.frombuffer(content, record)
    if start >= end and (start > end or crc):  # the CRC of no bytes is 0
        raise damaged(store, name)


def damaged(store: Store, name: str) -> UserError:
    """Return the error of a damaged file of the comparison, which is removed: a rerun makes what is missing."""
    store.remove(name)
    return UserError(f"{name} is damaged", place=store.place, fix="run the same command again: the file is made again")
