"""External sort: distribute records over temporary files by key, then sort each file in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("key", "<u8"), ("rest", "<u8"), ("document", "<u8")])
SortedRecords = NDArray[np.void]
Numbers = NDArray[np.uint64]

_RECORDS_A_PART = 1 << 21  # about 200 MB during the sort
_MOST_PARTS = 256


class ExternalSort:
    """Collects up to about `records` records, then returns them sorted, in parts.

    A context manager, which removes its temporary files at the end.
    """

    def __init__(self, records: int) -> None:
        self._parts = min(_MOST_PARTS, 1 + records // _RECORDS_A_PART)

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._files = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(self._parts)]
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def add(self, key: Numbers, rest: Numbers | int, document: Numbers | int) -> None:
        """Add records. Keys must be distributed evenly over 64 bits."""
        records = np.empty(len(key), RECORD)
        records["key"], records["rest"], records["document"] = key, rest, document
        part = (key >> np.uint64(32)) * np.uint64(self._parts) >> np.uint64(32)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(self._parts + 1, dtype=np.uint64))
        for number in np.flatnonzero(np.diff(bounds)):
            self._files[number].write(records[order[bounds[number] : bounds[number + 1]]].tobytes())

    def parts(self) -> Iterator[SortedRecords]:
        """Yield all records in parts, sorted by `key` and `rest`. The sort is stable; equal keys are in one part."""
        for file in self._files:
            file.seek(0)
            records: Any = np.frombuffer(file.read(), RECORD)
            yield records[np.lexsort((records["rest"], records["key"]))]


def begins(records: SortedRecords) -> NDArray[np.bool_]:
    """Return for each sorted record whether its key or `rest` differs from that of the record before it."""
    keys, rests = records["key"], records["rest"]
    return np.append(len(records) > 0, (keys[1:] != keys[:-1]) | (rests[1:] != rests[:-1]))[: len(records)]


def repetitions(records: SortedRecords) -> tuple[Numbers, Numbers]:
    """Return the documents whose key and `rest` equal an earlier record's, and for each the first such document."""
    is_new = begins(records)
    firsts = np.maximum.accumulate(np.where(is_new, np.arange(len(records)), 0))
    later = np.flatnonzero(~is_new)
    return records["document"][later], records["document"][firsts[later]]
