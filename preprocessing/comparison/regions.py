"""A file of records in numbered regions: what one worker has for each of the workers of the next step.

The file begins with the byte positions at which the regions begin, and the end of the last one (uint64), so that a
reader of one region reads nothing else. A region ends with the CRC-32 of its records. The writer's memory is bounded;
the rest lies in a temporary file.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from configs.files import explain_write_errors
from preprocessing.comparison.sealed_files import damaged
from preprocessing.storage import Store

_BUFFER_BYTES = 1 << 26  # of records in memory; about three times as much while they are sorted
_POSITION = np.dtype("<u8")
_CRC_BYTES = 4


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
        sizes = sum(self._counts, np.zeros(self._regions, np.int64)) * self._record.itemsize + _CRC_BYTES
        starts = np.cumsum([_POSITION.itemsize * (self._regions + 1), *sizes]).astype(_POSITION)
        with store.write(name) as stream:
            stream.write(starts.tobytes())
            self._write_regions(stream)

    def _sort_waiting(self) -> None:
        if not self._waiting:
            return
        regions, records = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        self._waiting, self._waiting_bytes = [], 0
        with explain_write_errors(Path(tempfile.gettempdir())):
            self._file.write(records[np.argsort(regions, kind="stable")].tobytes())
            self._file.flush()
        self._counts.append(np.bincount(regions, minlength=self._regions))

    def _write_regions(self, stream: IO[bytes]) -> None:
        if not self._counts:
            stream.write(bytes(_CRC_BYTES) * self._regions)
            return
        sorted_runs: NDArray[Any] = np.memmap(self._file, self._record, "r")
        counts = np.stack(self._counts)
        places = np.cumsum(counts).reshape(counts.shape) - counts  # of each run's regions in the temporary file
        for region in range(self._regions):
            crc = 0
            for run in np.flatnonzero(counts[:, region]).tolist():
                start = places[run, region]
                content = sorted_runs[start : start + counts[run, region]].tobytes()
                stream.write(content)
                crc = zlib.crc32(content, crc)
            stream.write(crc.to_bytes(_CRC_BYTES, "little"))


def read_region(store: Store, name: str, region: int, record: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the records of a region, in parts of limited size.

    Raises `UserError` for a damaged file, at the latest before the last part, and removes it, so that a rerun makes it
    again.
    """
    position = _POSITION.itemsize * region
    positions = store.read_range(name, position, position + 2 * _POSITION.itemsize)
    start, end = np.frombuffer(positions.ljust(2 * _POSITION.itemsize, b"\0"), _POSITION).tolist()
    if end < start + _CRC_BYTES:
        raise damaged(store, name)
    step = max(1, _BUFFER_BYTES // record.itemsize) * record.itemsize
    crc, is_last = 0, False
    while not is_last:
        is_last = start + step + _CRC_BYTES >= end
        stop = end if is_last else start + step
        content = store.read_range(name, start, stop)
        is_cut = len(content) < stop - start
        content, stated = (content[:-_CRC_BYTES], content[-_CRC_BYTES:]) if is_last else (content, b"")
        crc = zlib.crc32(content, crc)
        is_wrong = is_last and stated != crc.to_bytes(_CRC_BYTES, "little")
        if is_cut or is_wrong or len(content) % record.itemsize:
            raise damaged(store, name)
        if content:
            yield np.frombuffer(content, record)
        start = stop
