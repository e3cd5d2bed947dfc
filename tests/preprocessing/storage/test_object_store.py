"""Data sets on an S3 server on loopback: the same bytes as in a folder, after interruptions and failures too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # comes without types
import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from launch.display.inspection import decoded_pairs
from preprocessing.dataset.manifest import MANIFEST, read_manifest
from preprocessing.documents.file_search import find_files
from preprocessing.documents.input_files import ReadCounter, open_source
from preprocessing.documents.progress import Progress
from preprocessing.inspection.data_card import write_card
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming.share import Share
from preprocessing.storage.file_systems import READ_AHEAD_BYTES, StoreError, file_bytes, open_file
from preprocessing.storage.places import store_at
from preprocessing.storage.url_store import UrlStore
from tests.object_store import download, forget_connections, object_store, upload
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

pytestmark = pytest.mark.slow  # a minute together: .ci/run names this file


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as url:
        yield url


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> Path:
    """The text of five groups of the small recipe, on disk and in the bucket."""
    path = write_text(tmp_path_factory.mktemp("corpus") / "corpus.txt", make_documents(300))
    upload(path.parent, f"{bucket}/corpora")
    return path


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a data set in a local folder."""
    config = small_config(tmp_path_factory.mktemp("whole") / "dataset", corpus)
    prepare(config)
    return digests(Path(config.dataset))


@pytest.fixture
def remote(bucket: str, corpus: Path, tmp_path: Path) -> DataConfig:
    """A recipe that reads from the bucket and writes to it."""
    table = small_config(tmp_path, corpus).model_dump()
    table["dataset"] = f"{bucket}/{tmp_path.name}"
    table["corpora"] = [{"paths": [f"{bucket}/corpora/corpus.txt"], "format": "text"}]
    return DataConfig.model_validate(table)


@pytest.mark.parametrize("workers", [1, 2])
def test_bucket_gets_the_same_bytes_as_a_folder(
    remote: DataConfig, whole: dict[str, str], workers: int, tmp_path: Path
) -> None:
    manifest = prepare(remote.model_copy(update={"workers": workers}))
    assert digests(download(remote.dataset, tmp_path)) == whole
    assert prepare(remote) == manifest


def test_interrupted_preparation_resumes_and_keeps_finished_groups(
    remote: DataConfig, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(UrlStore, "pace_s", 0.01)

    def stop(progress: Progress) -> None:
        if progress.groups:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(remote, progress=stop)
    finished = modified(f"{remote.dataset}/groups/0*")
    assert 1 <= len(finished) <= 5
    assert not store_at(remote.dataset).size(MANIFEST)
    prepare(remote)
    assert finished.items() <= modified(f"{remote.dataset}/groups/0*").items()
    assert digests(download(remote.dataset, tmp_path)) == whole


def modified(glob: str) -> dict[str, object]:
    return {name: entry["LastModified"] for name, entry in fsspec.filesystem("s3").glob(glob, detail=True).items()}


def test_shares_repair_damage_and_refuse_another_recipe(
    remote: DataConfig, whole: dict[str, str], tmp_path: Path
) -> None:
    assert prepare_share(remote, Share(2, 2)) == [1]
    manifest = prepare(remote)
    store = store_at(remote.dataset)
    store.remove(manifest.shards[0].name)
    store.note(manifest.shards[-1].name, "damaged")
    with pytest.raises(UserError, match=r"difference: data\.dupe_factor"):
        prepare(remote.model_copy(update={"dupe_factor": 3}))
    prepare(remote)
    assert digests(download(remote.dataset, tmp_path)) == whole


def test_foreign_objects_are_not_touched(remote: DataConfig) -> None:
    store_at(remote.dataset).write_text("thesis.tex", "years of work")
    with pytest.raises(UserError, match="holds other files and no data set"):
        prepare(remote)
    assert store_at(remote.dataset).names() == ["thesis.tex"]


def test_verify_inspect_and_card_take_a_url(remote: DataConfig) -> None:
    manifest = prepare(remote)
    assert read_manifest(remote.dataset) == manifest
    assert list(verify(remote.dataset)) == []
    assert len(list(decoded_pairs(remote.dataset, "train", 1, 3))) == 3
    assert write_card(remote.dataset, manifest) == f"{remote.dataset}/DATA_CARD.md"
    assert (file_bytes(f"{remote.dataset}/card/lengths.png") or 0) > 1000
    store = store_at(remote.dataset)
    store.remove(manifest.shards[0].name)
    content = store.read(manifest.shards[1].name) or b""
    store.note(manifest.shards[1].name, "x" * len(content))
    assert [str(failure) for failure in verify(remote.dataset)] == [
        f"{manifest.shards[0].name}: the shard is missing",
        f"{manifest.shards[1].name}: the shard is damaged: its SHA-256 is not the manifest's",
    ]


def test_multipart_upload_is_read_back(bucket: str) -> None:
    content = bytes(range(256)) * (3 * READ_AHEAD_BYTES // 256)
    store = store_at(f"{bucket}/large")
    with store.write("file") as stream:
        stream.write(content)
    with store.open("file") as stream, store.local_file("file") as path:
        assert stream.read() == content
        assert path.read_bytes() == content
    assert not path.exists()
    with open_file(f"{bucket}/large/file") as stream:
        stream.seek(READ_AHEAD_BYTES - 1)
        assert stream.read(3) == content[READ_AHEAD_BYTES - 1 : READ_AHEAD_BYTES + 2]
    with pytest.raises(FileNotFoundError), store.local_file("none"):
        pass


@pytest.mark.parametrize(
    "pattern", ["/a.txt", "", "/", "/*.txt", "/[!a].txt", "/**.txt", "/sub/**", "/sub/*/d*", "/?.txt", "/s*/*.txt"]
)
def test_files_folders_and_globs_match_as_they_do_locally(bucket: str, tmp_path: Path, pattern: str) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt", ".hidden.txt", "_SUCCESS.txt", "sub/.cache/e.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    url = f"{bucket}/tree"
    upload(tmp_path, url)
    fsspec.filesystem("s3").touch(f"{url}/sub/")  # a folder's placeholder, as consoles create it
    found, locally = find_files([f"{url}{pattern}"]), find_files([f"{tmp_path}{pattern}"])
    assert [file.path.removeprefix(url) for file in found] == [
        file.path.removeprefix(str(tmp_path)) for file in locally
    ]
    assert [file.size for file in found] == [file.size for file in locally]
    with open_source(found[0].path, ReadCounter()) as stream:
        assert stream.read().decode() == found[0].path.removeprefix(f"{url}/")


def test_missing_object_error_names_the_url(bucket: str) -> None:
    with pytest.raises(UserError, match="no such file"):
        find_files([f"{bucket}/nothing"])
    with pytest.raises(UserError, match="no such data set"):
        read_manifest(f"{bucket}/nothing")
    with pytest.raises(UserError, match="bucket") as raised:
        store_at("s3://missing-bucket/dataset").write_text("a", "b")
    assert "create the bucket" in raised.value.fix


def test_missing_credentials_error_names_the_variables(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_connections()
    with pytest.raises(UserError, match="no credentials") as raised:
        store_at(f"{bucket}/dataset").write_text("a", "b")
    assert "AWS_ACCESS_KEY_ID" in raised.value.fix
    forget_connections()


def test_unreachable_server_raises_store_error(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "retries", 1)
    forget_connections()
    with pytest.raises(StoreError, match="the file system failed"):
        store_at(f"{bucket}/dataset").read("a")
    forget_connections()
