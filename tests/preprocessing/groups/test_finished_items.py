"""What counts as a finished group: the head of its side file, and shards that have not changed since."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from configs.records import without_checksum
from configs.schema import DataConfig
from preprocessing.dataset.manifest import Manifest
from preprocessing.documents.progress import Progress
from preprocessing.groups.group import GroupEntry, GroupHead, read_group, read_intact_head
from preprocessing.pipeline import prepare
from preprocessing.storage.local_store import LocalStore
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text


@pytest.fixture
def made(tmp_path: Path) -> tuple[DataConfig, Manifest, LocalStore]:
    config = small_config(tmp_path / "dataset", write_text(tmp_path / "a.txt", make_documents(300)))
    return config, prepare(config), LocalStore(tmp_path / "dataset")


def side_file(store: LocalStore) -> Path:
    return sorted((store.folder / "groups").glob("*.*.json"))[0]


def entry_of(store: LocalStore) -> GroupEntry:
    return GroupEntry.model_validate_json(without_checksum(side_file(store).read_bytes()) or b"")


def head_of(store: LocalStore, entry: GroupEntry) -> GroupHead | None:
    return read_intact_head(store, entry.name, entry.digest)


def test_head_is_the_beginning_of_the_side_file(made: tuple[DataConfig, Manifest, LocalStore]) -> None:
    _, _, store = made
    entry = entry_of(store)
    head = head_of(store, entry)
    assert head is not None
    assert head.model_dump() == {name: entry.model_dump()[name] for name in GroupHead.model_fields}
    assert read_intact_head(store, entry.name, "another key") is None
    assert read_intact_head(store, "99999.0000", entry.digest) is None


def test_head_with_many_shards_is_read_completely(
    made: tuple[DataConfig, Manifest, LocalStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, store = made
    monkeypatch.setattr("preprocessing.groups.group._HEAD_BYTES", 100)
    assert head_of(store, entry_of(store)) is not None


@pytest.mark.parametrize("kept", [0, 50, -1, -2, -3])
def test_truncated_side_file_is_not_finished(made: tuple[DataConfig, Manifest, LocalStore], kept: int) -> None:
    _, _, store = made
    entry = entry_of(store)
    side_file(store).write_bytes(side_file(store).read_bytes()[:kept])
    assert head_of(store, entry) is None


def test_shards_that_have_not_changed_are_not_read(
    made: tuple[DataConfig, Manifest, LocalStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, store = made
    entry = entry_of(store)
    newest = max((store.folder / shard.name).stat().st_ctime_ns for shard in entry.shards)
    os.utime(side_file(store), ns=(newest + 1, newest + 1))  # clocks of some file systems are coarse
    monkeypatch.setattr(LocalStore, "sha256", lambda *_: pytest.fail("a shard was read"))
    assert head_of(store, entry) is not None


def test_changed_shard_of_the_same_size_is_damage(made: tuple[DataConfig, Manifest, LocalStore]) -> None:
    """Also if a tool sets the time of modification back."""
    _, _, store = made
    entry = entry_of(store)
    shard = store.folder / entry.shards[0].name
    times = shard.stat()
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert head_of(store, entry) is None


def test_rerun_of_a_finished_data_set_finds_a_changed_shard(made: tuple[DataConfig, Manifest, LocalStore]) -> None:
    config, manifest, store = made
    before = digests(store.folder)
    shard = store.folder / manifest.shards[1].name
    shard.write_bytes(bytes(shard.stat().st_size))
    assert prepare(config) == manifest
    assert digests(store.folder) == before


def test_side_file_that_is_damaged_in_the_middle_is_made_again(
    made: tuple[DataConfig, Manifest, LocalStore], caplog: pytest.LogCaptureFixture
) -> None:
    _, _, store = made
    entry = entry_of(store)
    content = side_file(store).read_bytes()
    side_file(store).write_bytes(content.replace(b'"sentences"', b'"sentenses"'))
    assert head_of(store, entry) is not None
    with caplog.at_level(logging.WARNING):
        assert read_group(store, entry.name, entry.digest) is None
    assert "run the same command again" in caplog.text
    assert head_of(store, entry) is None


def test_rerun_deals_only_unfinished_items(made: tuple[DataConfig, Manifest, LocalStore]) -> None:
    """The first report of the pipeline counts what is finished; no worker looks at it again."""
    config, manifest, store = made
    before = digests(store.folder)
    (store.folder / manifest.shards[0].name).unlink()
    groups = len({shard.group for shard in manifest.shards})
    told: list[Progress] = []
    assert prepare(config, progress=told.append) == manifest
    of_groups = [progress for progress in told if progress.stage == "groups"]
    assert next(progress.groups for progress in of_groups if progress.groups) == groups - 1
    assert (of_groups[-1].groups, of_groups[-1].documents) == (groups, 300)
    assert of_groups[-1].bytes_read == of_groups[-1].bytes_total
    assert digests(store.folder) == before
