"""Hostile shards: a valid digest, but values that would let a compiled loop read or write outside its arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from configs.files import sha256_of_file
from preprocessing.dataset import DamagedShardError, Manifest, ShardEntry, read_shard, read_sound_shard, write_shard
from preprocessing.dataset.shard import Rows
from tests.pretrain.synthetic import write_dataset

Change = Callable[[Rows], Rows]


def with_first(column: str, value: int) -> Change:
    """Set the first element of a column."""

    def change(rows: Rows) -> Rows:
        values = getattr(rows, column).copy()
        values[0] = value
        return replace(rows, **{column: values})

    return change


def with_type(column: str, dtype: Any, value: int) -> Change:
    """Give a column another type, and a first element that its own type cannot hold."""

    def change(rows: Rows) -> Rows:
        values = getattr(rows, column).astype(dtype)
        values[0] = value
        return replace(rows, **{column: values})

    return change


CHANGES: dict[str, Change] = {
    "negative id": with_type("input_ids", np.int64, -1),
    "negative position": with_type("masked_lm_positions", np.int32, -5),
    "label below -1": with_type("next_sentence_label", np.int8, -2),
    "negative length of A": with_type("segment_a_length", np.int16, -3),
    "id beyond the vocabulary": with_first("input_ids", 100),
    "masked id beyond the vocabulary": with_first("masked_lm_ids", 65_535),
    "position beyond the row": with_first("masked_lm_positions", 40),
    "label of 2": with_first("next_sentence_label", 2),
    "A longer than the row": with_first("segment_a_length", 33),
    "ids as floats": with_type("input_ids", np.float32, 1),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "dataset", [[6]])
    return tmp_path / "dataset"


def rewritten(folder: Path, manifest: Manifest, rows: Rows) -> ShardEntry:
    """Write the rows in place of the shard, and return an entry that agrees with the new file."""
    (entry,) = manifest.shards
    path = folder / entry.name
    with path.open("wb") as stream:
        size, sha256 = write_shard(stream, rows, manifest.vocabulary.sha256)
    return entry.model_copy(update={"bytes": size, "sha256": sha256})


@pytest.mark.parametrize("change", CHANGES)
def test_a_hostile_shard_with_a_valid_digest_is_refused(folder: Path, change: str) -> None:
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    path = folder / manifest.shards[0].name
    rows = read_shard(path)
    columns: dict[str, Any] = {name: np.array(value) for name, value in vars(rows).items() if name != "provenance"}
    copied = Rows(**columns)
    entry = rewritten(folder, manifest, CHANGES[change](copied))
    assert sha256_of_file(path) == entry.sha256
    with pytest.raises(DamagedShardError, match="does not contain the rows that the manifest describes"):
        read_sound_shard(path, "here", entry, manifest)


def _with_nulls(path: Path) -> None:
    table = pa.table({"input_ids": pa.array([[1, None]], pa.list_(pa.uint16()))})
    _write(path, table)


def _with_other_columns(path: Path) -> None:
    _write(path, pa.table({"text": ["a"]}))


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _with_a_column_beyond_the_file(path: Path) -> None:
    tokens = len(read_shard(path).input_ids)
    path.write_bytes(path.read_bytes().replace(tokens.to_bytes(8, "little"), (1 << 62).to_bytes(8, "little")))


FOREIGN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"not Arrow" * 100),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a damaged footer": lambda path: path.write_bytes(path.read_bytes()[:-60] + b"\xff" * 50 + path.read_bytes()[-10:]),
    "a part twice": lambda path: path.write_bytes(path.read_bytes()[:800] + path.read_bytes()[300:]),
    "nulls": _with_nulls,
    "other columns": _with_other_columns,
    "a column beyond the file": _with_a_column_beyond_the_file,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused(folder: Path, kind: str) -> None:
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    path = folder / manifest.shards[0].name
    FOREIGN[kind](path)
    with pytest.raises(DamagedShardError, match=r"not a shard of the data format|does not contain the rows"):
        read_sound_shard(path, "here", manifest.shards[0], manifest)
