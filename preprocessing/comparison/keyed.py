"""Records with keys: which part of all keys a key belongs to, and which records repeat an earlier one's key."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]
Records = NDArray[np.void]


def records_of(dtype: np.dtype[Any], **columns: NDArray[Any] | int) -> Records:
    """Return records of these columns, the first of which is an array."""
    records: Records = np.empty(len(next(iter(columns.values()))), dtype)  # type: ignore[arg-type]
    for name, values in columns.items():
        records[name] = values
    return records


def part_of(keys: Numbers, parts: int) -> NDArray[np.int64]:
    """Return which of `parts` equal ranges of 64-bit numbers each key is in."""
    return ((keys >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32)).astype(np.int64)


def distinct(records: Records) -> Records:
    """Return the records sorted by their fields, in order, each once."""
    columns = [records[name] for name in records.dtype.names or ()]
    records = records[np.lexsort(columns[::-1])]
    is_new = np.zeros(len(records), np.bool_)
    is_new[:1] = True
    for name in records.dtype.names or ():
        is_new[1:] |= records[name][1:] != records[name][:-1]
    return records[is_new]


def begins(records: Records) -> NDArray[np.bool_]:
    """Return for each sorted record whether its `key`, or its `rest` if it has one, differs from the one before it."""
    keys = records["key"]
    differs = keys[1:] != keys[:-1]
    if "rest" in (records.dtype.names or ()):
        differs |= records["rest"][1:] != records["rest"][:-1]
    return np.append(len(records) > 0, differs)[: len(records)]


def repetitions(records: Records) -> tuple[Numbers, Numbers]:
    """Return the documents whose key equals an earlier record's, and for each the first such document.

    The records are sorted by key, and equal keys by document.
    """
    is_new = begins(records)
    firsts = np.maximum.accumulate(np.where(is_new, np.arange(len(records)), 0))
    later = np.flatnonzero(~is_new)
    return records["document"][later], records["document"][firsts[later]]
