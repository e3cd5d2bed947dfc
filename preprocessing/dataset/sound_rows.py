"""Open a shard for loops that trust its rows: a valid digest does not prove that the rows can be read safely.

A shard can be foreign or hostile: its manifest states its digest, and both can have been written by any program.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from configs.errors import UserError
from preprocessing.dataset.manifest import Manifest, ShardEntry
from preprocessing.dataset.shard import DamagedShardError, IntArray, Rows, local_shard, read_shard, token_dtype
from preprocessing.storage import Store

# Of foreign files and columns. Arrow raises a plain OSError for a footer that it cannot verify.
UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, OSError, pa.ArrowException)


def open_sound_shard(store: Store, entry: ShardEntry, manifest: Manifest) -> Rows:
    """Check a shard's digest, and return its rows, checked as by `read_sound_shard`. A copy from a URL is removed."""
    with local_shard(store, entry) as path:
        return read_sound_shard(path, f"{store.place}/{entry.name}", entry, manifest)


def read_sound_shard(path: Path, place: str, entry: ShardEntry, manifest: Manifest) -> Rows:
    """Memory-map a shard whose digest is checked, and check that compiled loops can use its rows.

    Raises `DamagedShardError`, with `place`, if the file is no shard, or if its columns, counts, offsets, ids,
    positions or labels are not those of the data format.
    """
    fix = "prepare the data set again"
    try:
        rows = read_shard(path)
        is_sound = _has_types(rows, manifest) and _is_sound(rows, entry, manifest)
    except FileNotFoundError:
        raise  # a staged copy can be removed, and is then made again
    except (UserError, *UNREADABLE) as error:
        raise DamagedShardError("the file is not a shard of the data format", place=place, fix=fix) from error
    if not is_sound:
        cause = "the shard does not contain the rows that the manifest describes"
        raise DamagedShardError(cause, place=place, fix=fix)
    return rows


def _has_types(rows: Rows, manifest: Manifest) -> bool:
    token = token_dtype(manifest.vocabulary.size)
    return bool(
        rows.input_ids.dtype == rows.masked_lm_ids.dtype == token
        and rows.input_offsets.dtype == rows.masked_offsets.dtype == np.int32
        and rows.segment_a_length.dtype == rows.masked_lm_positions.dtype == np.uint16
        and rows.next_sentence_label.dtype == np.uint8
    )


def _is_sound(rows: Rows, entry: ShardEntry, manifest: Manifest) -> bool:
    """Return whether the rows are safe for the compiled loops, which do not check bounds. Columns are unsigned."""
    lengths, masked = np.diff(rows.input_offsets), np.diff(rows.masked_offsets)
    if len(rows) != entry.rows or not len(lengths) == len(masked) == len(rows.next_sentence_label) == entry.rows:
        return False
    if not _spans(rows.input_offsets, rows.input_ids) or not _spans(rows.masked_offsets, rows.masked_lm_positions):
        return False
    return bool(
        len(rows.masked_lm_ids) == len(rows.masked_lm_positions)
        and lengths.max(initial=0) <= manifest.max_seq_length
        and lengths.min(initial=1) >= 1
        and np.all(rows.segment_a_length <= lengths)
        and rows.input_ids.max(initial=0) < manifest.vocabulary.size
        and rows.masked_lm_ids.max(initial=0) < manifest.vocabulary.size
        and np.all(rows.masked_lm_positions < np.repeat(lengths, masked))
        and rows.next_sentence_label.max(initial=0) <= 1
    )


def _spans(offsets: NDArray[np.int32], values: IntArray) -> bool:
    """Return whether the offsets are ascending and cover all values."""
    return bool(
        len(offsets) and offsets[0] == 0 and offsets[-1] == len(values) and np.diff(offsets).min(initial=0) >= 0
    )
