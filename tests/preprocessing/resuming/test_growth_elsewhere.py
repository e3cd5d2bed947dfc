"""A corpus that grows, prepared in shares or kept at a URL: the same bytes as on one machine, or a refusal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset.manifest import Manifest, read_manifest
from preprocessing.documents import content
from preprocessing.documents.progress import Progress
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming.share import Share
from tests.object_store import object_store, upload
from tests.preprocessing.corpora import digests, write_text
from tests.preprocessing.resuming.test_growth import DOCUMENTS, add_file, folder as folder, recipe
from tests.preprocessing.resuming.test_share import prepare_side_by_side

FIRST, SECOND = Share(1, 2), Share(2, 2)


@pytest.fixture(params=["none", "exact"])
def grown(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> tuple[DataConfig, dict[str, str]]:
    """A recipe whose data set was finished before a file was added, and the files of one that grew without shares."""
    config = recipe(tmp_path / "dataset", folder, duplicates=request.param)
    prepare(config)
    shutil.copytree(tmp_path / "dataset", tmp_path / "undivided")
    add_file(folder, "b.txt")
    prepare(config.model_copy(update={"dataset": str(tmp_path / "undivided")}))
    return config, digests(tmp_path / "undivided")


def test_shares_one_after_the_other_grow_a_data_set(grown: tuple[DataConfig, dict[str, str]]) -> None:
    config, expected = grown
    before = read_manifest(Path(config.dataset))
    assert prepare_share(config, SECOND) == [1]
    assert read_manifest(Path(config.dataset)) == before
    assert prepare_share(config, SECOND) == [1]
    made = prepare_share(config, FIRST)
    assert isinstance(made, Manifest)
    assert digests(Path(config.dataset)) == expected
    assert prepare_share(config, SECOND) == prepare(config) == made
    assert list(verify(Path(config.dataset))) == []


@pytest.mark.slow
def test_shares_side_by_side_grow_a_data_set(grown: tuple[DataConfig, dict[str, str]]) -> None:
    config, expected = grown
    prepare_side_by_side(config, 2)
    assert digests(Path(config.dataset)) == expected


def test_an_interrupted_share_of_a_growing_data_set_is_finished_without_shares(
    grown: tuple[DataConfig, dict[str, str]],
) -> None:
    config, expected = grown

    def stop(now: Progress) -> None:
        if now.stage == "groups" and now.groups:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_share(config, FIRST, progress=stop)
    prepare(config)
    assert digests(Path(config.dataset)) == expected


def test_a_file_that_is_added_between_two_shares_is_refused(grown: tuple[DataConfig, Any], folder: Path) -> None:
    config, _ = grown
    before = read_manifest(Path(config.dataset))
    prepare_share(config, FIRST)
    write_text(folder / "e.txt", DOCUMENTS[:50])
    with pytest.raises(UserError, match=r"e\.txt is new"):
        prepare_share(config, SECOND)
    assert read_manifest(Path(config.dataset)) == before
    prepare(config)
    assert len(read_manifest(Path(config.dataset)).inputs) == 4


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as url:
        yield url


@pytest.fixture
def remote(bucket: str, tmp_path: Path, folder: Path) -> DataConfig:
    """A recipe of a corpus at a URL, which is prepared."""
    upload(folder, f"{bucket}/{tmp_path.name}")
    config = recipe(tmp_path / "dataset", folder, corpora=[{"paths": [f"{bucket}/{tmp_path.name}"], "format": "text"}])
    prepare(config)
    return config


@pytest.mark.parametrize("in_shares", [False, True])
def test_a_corpus_at_a_url_grows(
    remote: DataConfig, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, in_shares: bool
) -> None:
    """Only the new file is read: the etags of the others have not changed."""
    local = recipe(tmp_path / "local", folder)
    prepare(local)
    add_file(folder)
    expected = prepare(local)
    upload(folder, remote.corpora[0].paths[0])
    hashed: list[str] = []
    digest_piece = content.digest_piece

    def count(piece: content.Piece, *rest: Any) -> bytes:
        hashed.append(piece.path.rpartition("/")[2])
        return digest_piece(piece, *rest)

    monkeypatch.setattr(content, "digest_piece", count)
    if in_shares:
        assert prepare_share(remote, SECOND) == [1]
    made = prepare_share(remote, FIRST) if in_shares else prepare(remote)
    assert isinstance(made, Manifest)
    assert made.shards == expected.shards
    assert made.inputs == expected.inputs
    assert prepare(remote) == made
    assert hashed == ["d.txt"]


@pytest.mark.parametrize("share", [None, FIRST])
def test_a_changed_file_at_a_url_is_refused(
    remote: DataConfig, tmp_path: Path, folder: Path, share: Share | None
) -> None:
    """It has the same size, so that only its etag tells."""
    before = read_manifest(tmp_path / "dataset")
    text = (folder / "a.txt").read_text()
    (folder / "a.txt").write_text(text.swapcase())
    add_file(folder)
    upload(folder, remote.corpora[0].paths[0])
    with pytest.raises(UserError, match=r"a\.txt"):
        prepare_share(remote, share) if share else prepare(remote)
    assert read_manifest(tmp_path / "dataset") == before
