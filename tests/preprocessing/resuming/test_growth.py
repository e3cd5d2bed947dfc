"""A corpus that grows: only new text is prepared, and the result is that of a data set made at once."""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset.manifest import Manifest, read_manifest
from preprocessing.documents.progress import Progress
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

DOCUMENTS = make_documents(500)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of about 65 kB: three groups each."""
    write_text(tmp_path / "in" / "a.txt", DOCUMENTS[:200])
    write_text(tmp_path / "in" / "c.txt", DOCUMENTS[200:400])
    return tmp_path / "in"


def recipe(dataset: Path, folder: Path, **changes: Any) -> DataConfig:
    return small_config(dataset, folder, **{"incremental": True, "provenance": True, **changes})


def add_file(folder: Path, name: str = "d.txt") -> None:
    """Add a file whose first half repeats earlier documents."""
    write_text(folder / name, [*DOCUMENTS[100:200], *DOCUMENTS[400:]])


def shards(manifest: Manifest) -> Counter[str]:
    return Counter(shard.sha256 for shard in manifest.shards)


def written(dataset: Path) -> dict[str, tuple[int, int]]:
    files = [*dataset.glob("shards/*"), *dataset.glob("groups/0*")]
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def made_at_once(tmp_path: Path, folder: Path, grown: Path, **changes: Any) -> Manifest:
    """The manifest of the same corpus, made at once with the vocabulary of the grown data set."""
    shutil.copy(grown / "vocab.txt", tmp_path / "vocab.txt")
    vocabulary = {"file": str(tmp_path / "vocab.txt"), "size": 150}
    return prepare(recipe(tmp_path / "at once", folder, vocabulary=vocabulary, **changes))


@pytest.mark.parametrize("duplicates", ["none", "exact"])
@pytest.mark.parametrize("name", ["d.txt", "b.txt"])
def test_a_grown_data_set_has_the_shards_of_one_made_at_once(
    tmp_path: Path, folder: Path, duplicates: str, name: str
) -> None:
    """`b.txt` lies between the earlier files, so its documents come before their duplicates in `c.txt`."""
    config = recipe(tmp_path / "dataset", folder, duplicates=duplicates)
    first = prepare(config)
    before = written(tmp_path / "dataset")
    add_file(folder, name)
    grown = prepare(config)
    assert read_manifest(tmp_path / "dataset") == grown
    assert list(verify(tmp_path / "dataset")) == []
    whole = made_at_once(tmp_path, folder, tmp_path / "dataset", duplicates=duplicates)
    assert shards(grown) == shards(whole)
    assert (grown.statistics, grown.drops, grown.inputs) == (whole.statistics, whole.drops, whole.inputs)
    assert grown.vocabulary == first.vocabulary
    after = written(tmp_path / "dataset")
    kept = {shard.name for shard in grown.shards} & {shard.name for shard in first.shards}
    assert len(kept) >= len(first.shards) / 2
    for shard in kept:
        assert after[Path(shard).name] == before[Path(shard).name]
    assert {Path(shard.name).name for shard in grown.shards} == {shard for shard in after if shard.endswith(".arrow")}
    assert prepare(config) == grown


def test_a_data_set_is_usable_while_it_grows_and_an_interruption_changes_nothing(tmp_path: Path, folder: Path) -> None:
    config = recipe(tmp_path / "dataset", folder)
    first = prepare(config)
    shutil.copytree(tmp_path / "dataset", tmp_path / "undisturbed")
    add_file(folder)

    def stop(now: Progress) -> None:
        if now.stage == "groups" and now.groups > len({shard.group for shard in first.shards}):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, progress=stop)
    assert read_manifest(tmp_path / "dataset") == first
    failures = {failure.rule for failure in verify(tmp_path / "dataset")}
    assert failures == {"every file is listed in the manifest"}  # the new ones are not yet
    prepare(config)
    prepare(config.model_copy(update={"dataset": str(tmp_path / "undisturbed")}))
    assert digests(tmp_path / "dataset") == digests(tmp_path / "undisturbed")


def test_a_data_set_grows_again_and_repairs_itself(tmp_path: Path, folder: Path) -> None:
    config = recipe(tmp_path / "dataset", folder)
    prepare(config)
    add_file(folder)
    prepare(config)
    write_text(folder / "e.txt", make_documents(60, seed=5))
    grown = prepare(config)
    whole = made_at_once(tmp_path, folder, tmp_path / "dataset")
    assert shards(grown) == shards(whole)
    complete = digests(tmp_path / "dataset")
    (tmp_path / "dataset" / grown.shards[-1].name).unlink()
    shutil.rmtree(tmp_path / "dataset" / ".prepare")  # a user can remove it to save space
    assert prepare(config) == grown
    assert {name: complete[name] for name in complete if not name.startswith(".prepare")}.items() <= digests(
        tmp_path / "dataset"
    ).items()


def test_a_grown_data_set_with_another_order_has_another_digest(tmp_path: Path, folder: Path) -> None:
    """A run that was trained on one of them must not resume on the other one."""
    config = recipe(tmp_path / "dataset", folder, duplicates="none")
    prepare(config)
    add_file(folder, "b.txt")
    grown = prepare(config)
    whole = made_at_once(tmp_path, folder, tmp_path / "dataset", duplicates="none")
    assert grown.item_numbers
    assert whole.item_numbers == []
    assert grown.digest != whole.digest


@pytest.mark.parametrize("incremental", [True, False])
def test_changed_and_removed_files_are_refused(tmp_path: Path, folder: Path, incremental: bool) -> None:
    config = recipe(tmp_path / "dataset", folder, incremental=incremental)
    first = prepare(config)
    add_file(folder)
    if incremental:
        (folder / "c.txt").unlink()
    with pytest.raises(UserError, match=r"d\.txt is new"):
        prepare(config)
    assert read_manifest(tmp_path / "dataset") == first


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_equal_files_are_different_work(tmp_path: Path, duplicates: str) -> None:
    for name in ("a.txt", "b.txt"):
        write_text(tmp_path / "in" / name, DOCUMENTS[:200])
    manifest = prepare(recipe(tmp_path / "dataset", tmp_path / "in", duplicates=duplicates))
    expected = 400 if duplicates == "none" else 200
    assert manifest.statistics.documents == expected
    assert manifest.drops.get("exact_duplicate", 0) == 400 - expected


def test_an_addition_that_fails_leaves_the_data_set_as_it_was(tmp_path: Path, folder: Path) -> None:
    config = recipe(tmp_path / "dataset", folder)
    first = prepare(config)
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"Some text.\n\n" * 1_000)[:-9])
    with pytest.raises(UserError, match="truncated"):
        prepare(config)
    assert read_manifest(tmp_path / "dataset") == first
    (folder / "d.txt.gz").unlink()
    assert prepare(config) == first
    assert list(verify(tmp_path / "dataset")) == []
