"""Staging is limited in size, verified, and shared by processes; stores can be slow, fail, or return wrong bytes."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # comes without types
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # comes without types

from configs.errors import UserError
from configs.files import sha256_of_file
from configs.schema import TrainConfig
from preprocessing.storage import file_systems
from pretrain.data import staging
from pretrain.data.dataset import open_dataset
from pretrain.data.staging import LOCKS, StagingArea, StoredFile
from tests.pretrain.synthetic import write_dataset


class FaultyStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An in-memory store that can be slow, fail, or return wrong bytes a given number of times."""

    protocol = "faulty"
    opened: list[str] = []  # noqa: RUF012  # fsspec keeps one store a process anyway
    faults: list[Exception | bytes] = []  # noqa: RUF012  # what the next reads give instead
    delay_s = 0.0
    reading = most_at_once = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            self.opened.append(path)
            FaultyStore.reading += 1
            FaultyStore.most_at_once = max(FaultyStore.most_at_once, FaultyStore.reading)
            time.sleep(self.delay_s)
            FaultyStore.reading -= 1
            if self.faults:
                fault = self.faults.pop(0)
                if isinstance(fault, Exception):
                    raise fault
                return MemoryFileSystem._open(self, self._lie(fault), mode)
        return super()._open(path, mode, **options)

    def _lie(self, content: bytes) -> str:
        with super()._open("/lie", "wb") as stream:
            stream.write(content)
        return "/lie"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultyStore]]:
    fsspec.register_implementation("faulty", FaultyStore, clobber=True)
    monkeypatch.setattr(staging, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(file_systems, "FIRST_PAUSE_S", 0.001)
    yield FaultyStore
    FaultyStore.opened.clear()
    FaultyStore.faults.clear()
    FaultyStore.delay_s = 0.0
    FaultyStore.most_at_once = 0


def put(name: str, size: int = 1000) -> StoredFile:
    content = (name.encode() * size)[:size]
    with fsspec.open(f"faulty://{name}", "wb") as stream:
        stream.write(content)
    return StoredFile(f"faulty://{name}", size, hashlib.sha256(content).hexdigest())


def content_of(name: str, size: int = 1000) -> bytes:
    return (name.encode() * size)[:size]


def shards_in(stage: StagingArea) -> set[str]:
    return {path.name for path in stage.folder.glob("*") if path.is_file() and not path.suffix}


def test_a_file_is_copied_once(store: type[FaultyStore], tmp_path: Path) -> None:
    file = put("a")
    path = StagingArea(tmp_path, 5000).path(file)
    assert path.read_bytes() == content_of("a")
    assert StagingArea(tmp_path, 5000).path(file) == path
    assert len(store.opened) == 1
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_copy_is_hashed_once(store: type[FaultyStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put("a")
    path = StagingArea(tmp_path, 5000).path(file)
    monkeypatch.setattr(staging, "sha256_of_file", lambda path: pytest.fail("hashed again"))
    assert StagingArea(tmp_path, 5000).path(file) == path


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_copy_is_copied_again(store: type[FaultyStore], tmp_path: Path, damage: str) -> None:
    stage, file = StagingArea(tmp_path, 5000), put("a")
    path = stage.path(file)
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes({"flip": b"x" + content_of("a")[1:], "cut": content_of("a")[:-1]}[damage])
    assert stage.path(file).read_bytes() == content_of("a")
    assert len(store.opened) == 2


def test_failed_reads_are_retried(store: type[FaultyStore], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = put("a")
    store.faults += [OSError("reset by peer"), RuntimeError("HTTP 503"), content_of("b"), content_of("a")[:10]]
    assert StagingArea(tmp_path, 5000).path(file).read_bytes() == content_of("a")
    reported = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(reported) == 4
    assert "attempt 2 of 6: RuntimeError: HTTP 503" in reported[1]
    assert "its SHA-256 is not the manifest's" in reported[2]


def test_permanently_failing_reads_raise(store: type[FaultyStore], tmp_path: Path) -> None:
    file = put("a")
    store.faults += [TimeoutError("no answer")] * staging.ATTEMPTS * file_systems.ATTEMPTS
    with pytest.raises(UserError, match="cannot read the file: TimeoutError: no answer") as reported:
        StagingArea(tmp_path, 5000).path(file)
    assert reported.value.place == "faulty://a"
    with pytest.raises(UserError, match="the file is missing"):
        StagingArea(tmp_path, 5000).path(StoredFile("faulty://gone", 10, "0" * 64))
    with pytest.raises(UserError, match=r"nowhere"):
        StagingArea(tmp_path, 5000).path(StoredFile("nowhere://a", 10, "0" * 64))
    assert [path for path in (tmp_path / f"bertrain-{os.getuid()}").iterdir() if path.name != LOCKS] == []


def test_size_limit_removes_the_least_recently_used(store: type[FaultyStore], tmp_path: Path) -> None:
    stage, files = StagingArea(tmp_path, 3000), [put(name) for name in "abcd"]
    for file in files[:3]:
        stage.path(file)
        time.sleep(0.01)
    stage.path(files[0])  # used again
    stage.path(files[3])
    assert shards_in(stage) == {files[place].sha256 for place in (0, 2, 3)}
    with pytest.raises(UserError, match="do not hold a shard") as told:
        stage.path(put("e", 3001))
    assert told.value.place == "train.stage_gib"
    StagingArea(tmp_path, 3001).path(put("e", 3001))


def test_partial_copies_of_killed_processes_are_removed(store: type[FaultyStore], tmp_path: Path) -> None:
    stage, files = StagingArea(tmp_path, 2000), [put(name) for name in "ab"]
    stage.folder.mkdir(mode=0o700)
    (stage.folder / f"{'0' * 64}.partial").write_bytes(bytes(1500))
    for file in files:
        stage.path(file)
    assert shards_in(stage) == {file.sha256 for file in files}
    assert not list(stage.folder.glob("*.partial"))


def test_expected_files_are_copied_ahead(store: type[FaultyStore], tmp_path: Path) -> None:
    store.delay_s = 0.2
    stage, files = StagingArea(tmp_path, 10_000), [put(name) for name in "abcdef"]
    stage.expect(files[:2], files)
    assert shards_in(stage) == set()  # it does not wait
    for file in files:
        stage.path(file)
    assert sorted(store.opened) == [file.place for file in files]
    assert store.most_at_once > 1


def test_expected_files_respect_the_size_limit(store: type[FaultyStore], tmp_path: Path) -> None:
    stage, files = StagingArea(tmp_path, 3000), [put(name) for name in "abcdef"]
    stage.expect(files[:2], files)
    deadline = time.monotonic() + 60
    while len(shards_in(stage)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert shards_in(stage) == {file.sha256 for file in files[:3]}
    with pytest.raises(UserError, match="which one window needs"):
        stage.expect(files[:4], [])


def test_a_copy_that_ends_while_room_is_made_is_no_error(store: type[FaultyStore], tmp_path: Path) -> None:
    """Another rank renames its complete copy, or removes a failed one, between two looks at the folder."""
    stage = StagingArea(tmp_path, 3000)
    stage.path(put("a"))
    partial = stage.folder / f"{'0' * 64}.{'0' * 8}.partial"

    class Folder(type(tmp_path)):  # type: ignore[misc]  # Path itself is abstract in Python 3.11
        def iterdir(self) -> Iterator[Path]:
            partial.write_bytes(bytes(1000))
            for path in super().iterdir():
                yield Ending(path) if path.name == partial.name else path

    class Ending(type(tmp_path)):  # type: ignore[misc]
        def is_file(self) -> bool:
            found: bool = super().is_file()
            partial.unlink()
            return found

    stage.folder = Folder(stage.folder)
    with stage._locked("00"):  # as the other rank does
        stage.path(put("b"))
    assert shards_in(stage) == {put(name).sha256 for name in "ab"}


def test_a_copy_that_is_removed_while_it_is_checked_is_copied_again(
    store: type[FaultyStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rank makes room while this one hashes a copy."""
    stage, file = StagingArea(tmp_path, 3000), put("a")
    copy = stage.path(file)
    copy.with_suffix(".checked").unlink()

    def remove(path: Path) -> str:
        digest = sha256_of_file(path)
        path.unlink()
        return digest

    monkeypatch.setattr(staging, "sha256_of_file", remove)
    assert stage.path(file).read_bytes() == content_of("a")
    assert len(store.opened) == 2


def test_unreadable_expected_file_raises_only_when_needed(store: type[FaultyStore], tmp_path: Path) -> None:
    stage, missing = StagingArea(tmp_path, 3000), StoredFile("faulty://gone", 10, "0" * 64)
    stage.expect([missing], [put("a")])
    assert stage.path(put("a")).read_bytes() == content_of("a")
    with pytest.raises(UserError, match="missing"):
        stage.path(missing)


def test_threads_share_one_copy(store: type[FaultyStore], tmp_path: Path) -> None:
    store.delay_s = 0.05
    file = put("a")
    threads = [threading.Thread(target=StagingArea(tmp_path, 5000).path, args=(file,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.opened) == 1


def test_processes_share_one_copy(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(100_000))
    file = StoredFile(f"file://{source}", 100_000, hashlib.sha256(source.read_bytes()).hexdigest())
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        copied = pool.starmap(_count_copies, [(str(tmp_path / "stage"), file)] * 4, chunksize=1)
    assert sum(copied) == 1


def _count_copies(folder: str, file: StoredFile) -> int:
    copies = []
    copy = staging._copy

    def counted(place: str, partial: Path) -> str:
        copies.append(place)
        time.sleep(0.2)
        return copy(place, partial)

    staging._copy = counted
    try:
        StagingArea(Path(folder), 1_000_000).path(file)
    finally:
        staging._copy = copy
    return len(copies)


def test_another_users_folder_is_not_trusted(store: type[FaultyStore], tmp_path: Path) -> None:
    file = put("a")
    folder = StagingArea(tmp_path, 1000).path(file).parent
    os.chown(folder, 12_345, 12_345) if os.getuid() == 0 else pytest.skip("only root can give a folder away")
    with pytest.raises(UserError, match=r"another user .*train\.stage_in"):
        StagingArea(tmp_path, 1000).path(file)


def test_a_variable_that_is_not_set_on_the_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "dataset", [[5]])
    with pytest.raises(UserError, match=r"train\.stage_in = '\$NOPE/x': the environment variable NOPE is not set"):
        open_dataset(str(tmp_path / "dataset"), TrainConfig(stage_in="$NOPE/x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_a_folder_that_others_can_write_is_not_trusted(store: type[FaultyStore], tmp_path: Path) -> None:
    area = StagingArea(tmp_path, 1000)
    area.folder.mkdir()
    area.folder.chmod(0o777)
    with pytest.raises(UserError, match=r"another user .*train\.stage_in"):
        area.path(put("a"))


@pytest.mark.parametrize("owner", [0, 65_534])
def test_a_planted_link_is_not_followed(store: type[FaultyStore], tmp_path: Path, owner: int) -> None:
    """It leads to a folder of this user or of another, with files that staging would take for old shards."""
    if owner and os.geteuid():
        pytest.skip("only root can make files of another user")
    victim = tmp_path / "victim"
    victim.mkdir()
    for name in ("thesis.tex", "0" * 64, "1" * 64 + ".partial"):
        (victim / name).write_bytes(b"x" * 90)
    os.chown(victim, owner or os.getuid(), -1)
    area = StagingArea(tmp_path / "shared", 1000)
    area.folder.parent.mkdir()
    area.folder.symlink_to(victim)
    with pytest.raises(UserError, match="another user created this folder"):
        area.path(put("a"))
    assert len(list(victim.iterdir())) == 3


def test_files_that_are_no_shards_are_left(store: type[FaultyStore], tmp_path: Path) -> None:
    area, first = StagingArea(tmp_path, 100), put("a", 60)
    area.path(first)
    (area.folder / "notes.txt").write_bytes(b"x" * 90)
    area.path(put("b", 60))
    assert (area.folder / "notes.txt").exists()
    assert not (area.folder / first.sha256).exists()


def test_a_file_system_without_locks_is_no_obstacle(
    store: type[FaultyStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    store.delay_s = 0.01
    file = put("a")
    threads = [threading.Thread(target=StagingArea(tmp_path, 1000).path, args=(file,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sha256_of_file(StagingArea(tmp_path, 1000).path(file)) == file.sha256
    assert not list((tmp_path / f"bertrain-{os.getuid()}").glob("*.partial"))
