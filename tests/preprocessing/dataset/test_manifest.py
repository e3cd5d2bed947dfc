"""Manifests and shards are read back as written, and damage is reported."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from preprocessing.dataset.manifest import (
    MANIFEST,
    Manifest,
    ShardEntry,
    Statistics,
    VocabularyEntry,
    read_manifest,
    write_manifest,
)
from preprocessing.dataset.shard import (
    Provenance,
    Rows,
    check_shard,
    read_shard,
    token_dtype,
    vocabulary_of_shard,
    write_shard,
)
from preprocessing.storage.local_store import LocalStore

STATISTICS = Statistics(
    documents=3,
    sentences=9,
    text_bytes=100,
    held_out_documents=1,
    random_next_pairs=1,
    forced_random_pairs=0,
    drawn_targets=2,
    short_targets=0,
    length_histogram=[0, 1],
    token_counts=[5, 6],
)
VOCABULARY = VocabularyEntry(sha256="ab", size=9, lowercase=True, pad_id=0, unk_id=1, cls_id=2, sep_id=3, mask_id=4)


def make_rows(ids: type[np.uint16] | type[np.uint32] = np.uint16) -> Rows:
    return Rows(
        input_ids=np.array([2, 7, 3, 4, 3, 2, 8, 3, 5, 6, 3], ids),
        input_offsets=np.array([0, 5, 11], np.int32),
        segment_a_length=np.array([3, 3], np.uint16),
        masked_lm_positions=np.array([3, 1, 4], np.uint16),
        masked_lm_ids=np.array([9, 8, 5], ids),
        masked_offsets=np.array([0, 1, 3], np.int32),
        next_sentence_label=np.array([0, 1], np.uint8),
    )


def write_one(folder: Path) -> ShardEntry:
    name = "shards/00000.0000-p00-train.arrow"
    (folder / "shards").mkdir()
    rows = make_rows()
    with (folder / name).open("wb") as stream:
        size, sha256 = write_shard(stream, rows, "ab")
    return ShardEntry(
        name=name,
        group="00000.0000",
        split="train",
        pass_number=0,
        rows=2,
        tokens=11,
        masked_tokens=3,
        bytes=size,
        sha256=sha256,
    )


def make_manifest(shards: list[ShardEntry]) -> Manifest:
    return Manifest(
        objective="nsp",
        max_seq_length=48,
        max_predictions_per_seq=8,
        dupe_factor=1,
        recipe={"seed": 1},
        digest="d",
        input_digest="i",
        vocabulary=VOCABULARY,
        shards=shards,
        drops={"empty": 2},
        statistics=STATISTICS,
    )


PROVENANCE = Provenance(
    a_document=np.array([2**64 - 1, 7], np.uint64),
    a_first_sentence=np.array([0, 70_000], np.uint32),
    a_sentences=np.array([2, 1], np.uint16),
    b_document=np.array([2**64 - 1, 8], np.uint64),
    b_first_sentence=np.array([2, 1], np.uint32),
    b_sentences=np.array([1, 3], np.uint16),
)


@pytest.mark.parametrize("provenance", [None, PROVENANCE])
@pytest.mark.parametrize("ids", [np.uint16, np.uint32])
def test_shard_round_trip(
    tmp_path: Path, ids: type[np.uint16] | type[np.uint32], provenance: Provenance | None
) -> None:
    rows = dataclasses.replace(make_rows(ids), provenance=provenance)
    path = tmp_path / "a.arrow"
    with path.open("wb") as stream:
        size, sha256 = write_shard(stream, rows, "ab")
    assert size == path.stat().st_size
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert vocabulary_of_shard(path) == "ab"
    read = read_shard(path)
    assert len(read) == 2
    written, found = vars(rows).copy(), vars(read).copy()
    of_written, of_found = written.pop("provenance"), found.pop("provenance")
    if provenance is None:
        assert of_found is None
    else:
        written, found = written | vars(of_written), found | vars(of_found)
    assert [name for name, column in written.items() if column is None] == [n for n, c in found.items() if c is None]
    for name, column in written.items():
        if column is None:
            continue
        assert found[name].dtype == column.dtype, name
        np.testing.assert_array_equal(column, found[name], name)


def test_hugging_face_datasets_opens_shards_with_one_line(tmp_path: Path) -> None:
    write_one(tmp_path)
    script = f"""
from datasets import load_dataset
rows = load_dataset("arrow", data_files="{tmp_path}/shards/*-p00-train.arrow", split="train")
print(rows.column_names, rows[1])
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    columns = ["input_ids", "segment_a_length", "masked_lm_positions", "masked_lm_ids", "next_sentence_label"]
    values = [[2, 8, 3, 5, 6, 3], 3, [1, 4], [8, 5], 1]
    assert done.stdout.strip() == f"{columns} {dict(zip(columns, values, strict=True))}"


def test_same_rows_give_same_bytes() -> None:
    first, second = io.BytesIO(), io.BytesIO()
    assert write_shard(first, make_rows(), "ab") == write_shard(second, make_rows(), "ab")
    assert first.getvalue() == second.getvalue()


def test_shard_without_rows(tmp_path: Path) -> None:
    rows = make_rows()
    nothing = {
        field.name: getattr(rows, field.name)[:0] for field in dataclasses.fields(Rows) if field.name != "provenance"
    }
    no_offset = np.zeros(1, np.int32)
    path = tmp_path / "a.arrow"
    with path.open("wb") as stream:
        write_shard(stream, Rows(**{**nothing, "input_offsets": no_offset, "masked_offsets": no_offset}), "ab")
    assert len(read_shard(path)) == 0


def test_manifest_round_trip(tmp_path: Path) -> None:
    manifest = make_manifest([write_one(tmp_path)])
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert json.loads((tmp_path / MANIFEST).read_text())["shards"][0]["pass"] == 0
    assert manifest.select("train", 0) == manifest.shards
    assert manifest.select("train", 1) == manifest.select("held_out", 0) == []


def test_missing_manifest_error_distinguishes_the_cases(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finished, or not a data set"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="no such data set"):
        read_manifest(tmp_path / "nothing")


def test_foreign_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"name": "a web page"}')
    with pytest.raises(UserError, match=r"not a manifest of this version \(objective: Field required\)"):
        read_manifest(tmp_path)


def test_older_manifest_error_names_the_missing_field_and_a_fix(tmp_path: Path) -> None:
    older = make_manifest([]).model_dump(mode="json", by_alias=True)
    del older["statistics"]["short_targets"]
    (tmp_path / MANIFEST).write_text(json.dumps(older))
    with pytest.raises(UserError, match=r"\(statistics.short_targets: Field required\)") as raised:
        read_manifest(tmp_path)
    assert (raised.value.place, "--overwrite" in raised.value.fix) == (str(tmp_path / MANIFEST), True)


HOSTILE: dict[str, Any] = {
    "dupe_factor": 2**62,
    "max_seq_length": -1,
    "max_predictions_per_seq": None,
    "vocabulary.size": 10**30,
    "vocabulary.cls_id": 5_000,
    "vocabulary.lowercase": "yes",
    "shards.0.rows": -4,
    "shards.0.pass": 2**40,
    "shards.0.name": "../../etc/passwd",
    "shards.0.bytes": "5",
    "statistics.token_counts": [None],
    "statistics.documents": True,
}


@pytest.mark.parametrize("key", HOSTILE)
def test_nulls_and_numbers_out_of_range_are_refused(tmp_path: Path, key: str) -> None:
    fields = make_manifest([write_one(tmp_path)]).model_dump(mode="json", by_alias=True)
    parent: Any = fields
    *parts, name = key.split(".")
    for part in parts:
        parent = parent[int(part) if part.isdigit() else part]
    parent[name] = HOSTILE[key]
    (tmp_path / MANIFEST).write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"not a manifest of this version") as raised:
        read_manifest(tmp_path)
    assert parts[0] if parts else name in raised.value.cause


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"null", b"1" * 10_000, b""])
def test_content_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match=r"not a manifest of this version|the manifest is damaged"):
        read_manifest(tmp_path)


def test_manifest_at_a_url(tmp_path: Path) -> None:
    manifest = make_manifest([])
    write_manifest(tmp_path, manifest)
    assert read_manifest(f"file://{tmp_path}") == manifest
    with pytest.raises(UserError, match="no such data set") as raised:
        read_manifest(f"file://{tmp_path}/nothing")
    assert raised.value.place == f"file://{tmp_path}/nothing"


def test_other_format_version_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, make_manifest([]).model_copy(update={"format_version": 99}))
    with pytest.raises(UserError, match="format version 99, but this bertrain reads 1 and 2"):
        read_manifest(tmp_path)


def test_check_shard_reports_the_damage(tmp_path: Path) -> None:
    entry = write_one(tmp_path)
    path = tmp_path / entry.name
    check_shard(LocalStore(tmp_path), entry)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(UserError, match="damaged: its SHA-256") as raised:
        check_shard(LocalStore(tmp_path), entry)
    assert raised.value.place == str(path)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"has {len(content) - 1} bytes, not {len(content)}"):
        check_shard(LocalStore(tmp_path), entry)
    path.unlink()
    with pytest.raises(UserError, match="the shard is missing"):
        check_shard(LocalStore(tmp_path), entry)


@pytest.mark.parametrize(("size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_token_dtype_holds_the_last_id(size: int, dtype: type) -> None:
    assert token_dtype(size) is dtype
    assert np.iinfo(dtype).max >= size - 1


def test_manifest_states_its_own_digest(tmp_path: Path) -> None:
    """The digest covers the other keys, whatever the formatting of the file."""
    write_manifest(tmp_path, make_manifest([]))
    table = json.loads((tmp_path / MANIFEST).read_text())
    stated = table.pop("manifest_sha256")
    canonical = json.dumps(table, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert stated == hashlib.sha256(canonical.encode()).hexdigest()
    (tmp_path / MANIFEST).write_text(json.dumps({"manifest_sha256": stated, **table}, indent=4))
    assert read_manifest(tmp_path) == make_manifest([])


@pytest.mark.parametrize("edit", [{"dupe_factor": 3}, {"manifest_sha256": None}, {"manifest_sha256": "0" * 64}])
def test_edited_manifest_is_refused(tmp_path: Path, edit: dict[str, Any]) -> None:
    write_manifest(tmp_path, make_manifest([]))
    table = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps(table | edit))
    with pytest.raises(UserError, match="the manifest is damaged") as raised:
        read_manifest(tmp_path)
    assert raised.value.place == str(tmp_path / MANIFEST)
