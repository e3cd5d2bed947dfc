"""Data sets on a remote file system: the same bytes as in a folder, after interruptions and failures too."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset.manifest import MANIFEST
from preprocessing.documents.progress import Progress
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming.share import Share
from preprocessing.storage import file_systems
from preprocessing.storage.file_systems import READ_AHEAD_BYTES, StoreError
from preprocessing.storage.local_store import LocalStore
from preprocessing.storage.places import store_at
from preprocessing.storage.store import Store
from preprocessing.storage.url_store import UrlStore
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text
from tests.preprocessing.not_local import SCHEME, ShelfFileSystem


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text of five groups of the small recipe."""
    return write_text(tmp_path_factory.mktemp("corpus") / "corpus.txt", make_documents(300))


@pytest.fixture(scope="module")
def whole(corpus: Path) -> dict[str, str]:
    """The files of a data set in a folder."""
    config = small_config(corpus.parent / "whole", corpus)
    prepare(config)
    return digests(Path(config.dataset))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """The local folder that holds the objects of the remote data set."""
    return tmp_path / "dataset"


@pytest.fixture
def remote(shelf: Path, corpus: Path) -> DataConfig:
    """A recipe that reads from a URL and writes to a URL."""
    table = small_config(shelf, corpus).model_dump()
    table["dataset"] = f"{SCHEME}://{shelf}"
    table["corpora"] = [{"paths": [f"{SCHEME}://{corpus}"], "format": "text"}]
    return DataConfig.model_validate(table)


def test_room_is_found_while_another_share_removes_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "share").mkdir()
    for name in ("kept", "share/report"):
        (tmp_path / name).write_bytes(bytes(5_000))
    walk = os.walk

    def removing(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        found = list(walk(folder))
        (tmp_path / "share/report").unlink()
        yield from found

    monkeypatch.setattr(os, "walk", removing)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert LocalStore(tmp_path).room_bytes() == 5_000


def test_url_gets_the_same_bytes_as_a_folder(remote: DataConfig, shelf: Path, whole: dict[str, str]) -> None:
    manifest = prepare(remote)
    assert digests(shelf) == whole
    assert prepare(remote) == manifest


def test_interrupted_preparation_at_a_url_resumes_and_keeps_finished_groups(
    remote: DataConfig, shelf: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UrlStore, "pace_s", 0.01)

    def stop(progress: Progress) -> None:
        if progress.groups:
            raise KeyboardInterrupt

    many = remote.model_copy(update={"dupe_factor": 30})
    with pytest.raises(KeyboardInterrupt):
        prepare(many, progress=stop)
    finished = {file: file.stat().st_mtime_ns for file in shelf.glob("groups/0*")}
    assert 1 <= len(finished) < 5
    assert not (shelf / MANIFEST).exists()
    with pytest.raises(UserError, match=r"difference: data\.dupe_factor"):
        prepare(remote)
    prepare(many)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    prepare(remote, overwrite=True)
    assert digests(shelf) == whole


def test_shares_repair_damaged_shards(remote: DataConfig, shelf: Path, whole: dict[str, str]) -> None:
    assert prepare_share(remote, Share(2, 2)) == [1]
    manifest = prepare(remote)
    (shelf / manifest.shards[0].name).unlink()
    (shelf / manifest.shards[-1].name).write_bytes(b"damaged")
    prepare(remote)
    assert digests(shelf) == whole


def test_foreign_files_are_not_touched(remote: DataConfig, shelf: Path) -> None:
    shelf.mkdir()
    (shelf / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other files and no data set"):
        prepare(remote)
    assert [file.name for file in shelf.iterdir()] == ["thesis.tex"]


def test_unsupported_scheme_is_refused(remote: DataConfig) -> None:
    with pytest.raises(UserError, match="no installed library supports nowhere://") as raised:
        prepare(remote.model_copy(update={"dataset": "nowhere://bucket/dataset"}))
    assert raised.value.place == "nowhere://bucket/dataset"


def test_existing_file_is_kept_and_damaged_file_is_replaced(tmp_path: Path) -> None:
    store = store_at(f"{SCHEME}://{tmp_path}")
    store.write_text("shards/a", "whole")
    before = (tmp_path / "shards/a").stat()
    store.write_text("shards/a", "whole")
    assert (tmp_path / "shards/a").stat() == before
    (tmp_path / "shards/a").write_text("hole")
    store.write_text("shards/a", "whole")
    assert store.read("shards/a") == b"whole"
    assert store.names() == ["shards/a"]


def test_failed_upload_is_reported_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: ShelfFileSystem, local: str, path: str) -> None:
        Path(path).write_text("wh")
        raise OSError("no quota is left")

    store = store_at(f"{SCHEME}://{tmp_path}")
    store.write_text("a", "damaged")
    monkeypatch.setattr(ShelfFileSystem, "put_file", fail)
    with pytest.raises(UserError, match="the file system failed: no quota is left") as raised:
        store.write_text("a", "whole")
    assert raised.value.place.startswith(f"{SCHEME}://{tmp_path}/.a.")
    assert store.names() == ["a"]


def test_file_of_a_faster_share_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename_later(self: ShelfFileSystem, source: str, destination: str) -> None:
        Path(destination).write_text("whole")
        rename(self, source, destination)

    rename = ShelfFileSystem.mv
    monkeypatch.setattr(ShelfFileSystem, "mv", rename_later)
    store = store_at(f"{SCHEME}://{tmp_path}")
    store.write_text("a", "whole")
    assert (store.names(), store.read("a")) == (["a"], b"whole")


def test_other_errors_in_a_step_are_not_attributed_to_the_url(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours"), store_at(f"{SCHEME}://{tmp_path}").explained():
        raise ValueError("ours")


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_at(str(tmp_path) if request.param == "local" else f"{SCHEME}://{tmp_path}")


def test_both_stores_behave_the_same(store: Store) -> None:
    assert isinstance(store, LocalStore | UrlStore)
    assert (store.is_empty(), store.names(), store.read("a"), store.size("a"), store.sha256("a")) == (
        True, [], None, None, None,
    )  # fmt: skip
    for content in ("first", "second"):  # the second replaces the first
        store.write_text("a", content)
    for content in ("first", "x"):
        store.note(".b", content)
    assert (store.is_empty(), sorted(store.names()), store.read("a"), store.size("a")) == (
        False,
        [".b", "a"],
        b"second",
        6,
    )
    with store.open("a") as stream:
        assert stream.read() == b"second"
    with pytest.raises(ZeroDivisionError), store.write("c") as stream:
        stream.write(bytes(1 // 0))
    assert sorted(store.names()) == [".b", "a"]
    store.remove("a")
    store.remove("a")
    assert store.holds(f"{store.place}/a")
    assert not store.holds(f"{store.place}-other/a")
    store.clear()
    assert store.is_empty()


def test_files_are_read_whole_up_to_a_limit(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * (READ_AHEAD_BYTES // 200)  # more than a remote store reads at once
    for name, stored in (("empty", b""), ("long", content)):
        (tmp_path / name).write_bytes(stored)
        assert store.read(name, len(stored)) == stored
    with pytest.raises(UserError, match=r"long: larger than 10 MiB, the limit for such a file\. It is damaged"):
        store.read("long", 10 << 20)
    with pytest.raises(UserError, match="larger than 3 bytes, the limit"):
        store.read("long", 3)
    os.truncate(tmp_path / "long", 50 << 30)  # sparse
    with pytest.raises(UserError, match="larger than 4 GiB, the limit"):
        store.read("long")


def test_an_empty_object_has_no_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ShelfFileSystem, path: str, **_: int) -> bytes:
        raise OSError("InvalidRange")  # as S3 answers

    monkeypatch.setattr(ShelfFileSystem, "cat_file", refuse)
    for name, content in (("empty", ""), ("other", "text")):
        (tmp_path / name).write_text(content)
    assert store_at(f"{SCHEME}://{tmp_path}").read("empty") == b""
    with pytest.raises(UserError, match="the file system failed: InvalidRange"):
        store_at(f"{SCHEME}://{tmp_path}").read("other")


@pytest.mark.parametrize(("make", "cause"), [(os.mkfifo, "Not a regular file"), (os.mkdir, "Is a directory")])
def test_what_is_no_file_is_named_and_blocks_nobody(tmp_path: Path, make: Callable[[Path], None], cause: str) -> None:
    make(tmp_path / "manifest.json")
    with pytest.raises(UserError, match=f"manifest.json: cannot read: {cause}"):
        LocalStore(tmp_path).read("manifest.json")


def test_broken_connections_are_retried_but_refusals_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[OSError] = [ConnectionResetError("reset"), TimeoutError("slow"), PermissionError("not yours")]

    def fail_first(self: ShelfFileSystem, path: str, **of: int) -> bytes:
        if errors:
            raise errors.pop(0)
        return Path(path).read_bytes()[of["start"] : of["end"]]

    store = store_at(f"{SCHEME}://{tmp_path}")
    store.write_text("a", "whole")
    monkeypatch.setattr(file_systems, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(ShelfFileSystem, "cat_file", fail_first)
    with pytest.raises(UserError, match="access is denied: not yours") as raised:
        store.read("a")
    assert not isinstance(raised.value, StoreError)
    assert (errors, store.read("a")) == ([], b"whole")
    errors += [ConnectionResetError("reset")] * file_systems.ATTEMPTS
    with pytest.raises(StoreError, match="the file system failed: reset"):
        store.read("a")


def test_error_names_the_extra_for_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match="no installed library supports gs://") as raised:
        store_at("gs://bucket/dataset")
    assert "install the extra `gcs`: " in raised.value.fix
