"""Compressed input: cut where it can be, cleaned in parts where it cannot, with the documents of the plain text."""

from __future__ import annotations

import bz2
import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.corpus import cleaned_files
from preprocessing.corpus.cleaning import keep
from preprocessing.dataset import Manifest
from preprocessing.documents.progress import Progress
from preprocessing.inspection.verification import verify
from preprocessing.pipeline import prepare, prepare_share
from preprocessing.resuming.parts import GROUPS, WORK
from preprocessing.resuming.share import Share
from preprocessing.storage import sections
from tests.preprocessing.compressed import IN_UNITS
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

DOCUMENTS = make_documents(400)
TEXT = ("\n\n".join(DOCUMENTS) + "\n").encode()  # 120 kB
PACKED = gzip.compress(TEXT, mtime=0)
PIECES = [TEXT[start:end] for start, end in pairwise([*range(0, len(TEXT), 3_000), len(TEXT)])]


def recipe(folder: Path, name: str, content: bytes, **changes: Any) -> DataConfig:
    path = folder / name
    path.write_bytes(content)
    return small_config(folder / f"dataset of {name}", path, provenance=True, **changes)


def counts(manifest: Manifest) -> tuple[int, int, int]:
    statistics = manifest.statistics
    return statistics.documents, statistics.sentences, statistics.text_bytes


@pytest.mark.parametrize(("suffix", "duplicates"), [(".gz", "none"), (".xz", "exact"), (".zst", "none")])
def test_input_of_several_units_gives_the_documents_of_the_plain_text(
    tmp_path: Path, suffix: str, duplicates: str
) -> None:
    plain = prepare(recipe(tmp_path, "a.txt", TEXT, duplicates=duplicates))
    config = recipe(tmp_path, f"a.txt{suffix}", IN_UNITS[suffix](PIECES), duplicates=duplicates)
    packed = prepare(config)
    assert counts(packed) == counts(plain)
    assert len({name.partition(".")[0] for name in packed_groups(config)}) > 3
    assert not list(verify(Path(config.dataset)))


def packed_groups(config: DataConfig) -> list[str]:
    return sorted(path.name for path in (Path(config.dataset) / GROUPS).glob("*.*.json"))


def test_bzip2_is_cut_and_gives_the_documents_of_the_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "BLOCK_BYTES", 20_000)  # the content is too short for blocks of their usual size
    text = TEXT + b"\n" + "\n\n".join(make_documents(700, seed=2)).encode()
    plain = prepare(recipe(tmp_path, "a.txt", text, duplicates="none"))
    config = recipe(tmp_path, "a.bz2", bz2.compress(text, 1), duplicates="none")
    packed = prepare(config)
    assert counts(packed) == counts(plain)
    assert len({name.partition(".")[0] for name in packed_groups(config)}) > 2


@pytest.mark.parametrize("duplicates", ["none", "exact"])
def test_input_of_one_unit_is_cleaned_in_parts_that_are_work_items(tmp_path: Path, duplicates: str) -> None:
    seen: list[Progress] = []
    plain = prepare(recipe(tmp_path, "a.txt", TEXT, duplicates=duplicates))
    config = recipe(tmp_path, "a.txt.gz", PACKED, duplicates=duplicates)
    packed = prepare(config, progress=seen.append)
    assert counts(packed) == counts(plain)
    items = {name.partition(".")[0] for name in packed_groups(config)}
    assert items == {f"{number:05}" for number in range(len(items))}
    assert len(items) > 3
    assert [entry.counts.documents for entry in packed.inputs] == [entry.counts.documents for entry in plain.inputs]
    assert {"none": "cleaning", "exact": "duplicates"}[duplicates] in {state.stage for state in seen}
    assert not (Path(config.dataset) / WORK).exists()
    assert not list(verify(Path(config.dataset)))


@pytest.mark.slow  # starts processes for three stages
def test_one_and_two_workers_make_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        config = recipe(folder, "a.txt.gz", PACKED, workers=workers)
        prepare(config)
        made.append(digests(Path(config.dataset)))
    assert made[0] == made[1]


class StopError(Exception):
    """Stands for the end of a worker."""


@pytest.mark.parametrize("finished", [1, 3])
def test_cleaning_resumes_after_the_last_finished_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: int
) -> None:
    config = recipe(tmp_path, "a.txt.gz", PACKED)
    cleaned: list[str] = []
    write = cleaned_files._write

    def stop_later(*args: Any, **settings: Any) -> None:
        if len(list((Path(config.dataset) / WORK).glob("cleaned-*.json"))) == finished:
            raise StopError
        write(*args, **settings)

    def count(document: Any, recipe: Any) -> Any:
        cleaned.append(document.text)
        return keep(document, recipe)

    monkeypatch.setattr(cleaned_files, "_write", stop_later)
    with pytest.raises(RuntimeError, match="StopError"):
        prepare(config)
    parts = {path: path.stat().st_mtime_ns for path in (Path(config.dataset) / WORK).glob("cleaned-*")}
    monkeypatch.setattr(cleaned_files, "_write", write)
    monkeypatch.setattr(cleaned_files, "keep", count)
    kept: dict[Path, int] = {}

    def look(state: Progress) -> None:
        if state.stage == "vocabulary":
            kept.update({path: path.stat().st_mtime_ns for path in parts})

    prepare(config, progress=look)
    assert kept == parts
    assert 0 < len(cleaned) < len(DOCUMENTS) * (1 - 0.1 * finished)
    again = recipe(tmp_path, "b.txt.gz", PACKED)
    prepare(again)
    shards = [sorted((Path(made.dataset) / "shards").iterdir()) for made in (config, again)]
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]


def test_a_finished_item_is_not_cleaned_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe(tmp_path, "a.txt.gz", PACKED)
    entries = cleaned_files._write_entry

    def stop_at_the_item(item: Any, entry: Any, work: Any) -> None:
        if entry.parts:
            raise StopError
        entries(item, entry, work)

    monkeypatch.setattr(cleaned_files, "_write_entry", stop_at_the_item)
    with pytest.raises(RuntimeError, match="StopError"):
        prepare(config)
    monkeypatch.setattr(cleaned_files, "_write_entry", entries)
    monkeypatch.setattr(cleaned_files, "keep", lambda *_: pytest.fail("a document was cleaned again"))
    assert prepare(config).statistics.documents == len(DOCUMENTS)


def test_an_incremental_data_set_keeps_the_parts(tmp_path: Path) -> None:
    config = recipe(tmp_path, "a.txt.gz", PACKED, incremental=True)
    prepare(config)
    names = sorted(path.name for path in (Path(config.dataset) / WORK).glob("cleaned-*"))
    assert len(names) > 6
    prepare(config)
    assert sorted(path.name for path in (Path(config.dataset) / WORK).glob("cleaned-*")) == names
    more = tmp_path / "more.txt"
    write_text(more, make_documents(100, seed=2))
    grown = config.model_copy(
        update={"corpora": [config.corpora[0].model_copy(update={"paths": [*config.corpora[0].paths, str(more)]})]}
    )
    manifest = prepare(grown)
    assert manifest.statistics.documents > len(DOCUMENTS)


def test_recipe_can_unpack_a_file_of_one_unit_so_that_it_is_cut(tmp_path: Path) -> None:
    seen: list[Progress] = []
    plain = prepare(recipe(tmp_path, "a.txt", TEXT))
    config = recipe(tmp_path, "a.txt.gz", PACKED, unpack=True)
    unpacked = prepare(config, progress=seen.append)
    assert "unpacking" in {state.stage for state in seen}
    assert [shard.sha256 for shard in unpacked.shards] == [shard.sha256 for shard in plain.shards]
    (entry,) = unpacked.inputs
    assert (entry.name, entry.bytes) == ("a.txt.gz", len(PACKED))
    assert not (Path(config.dataset) / WORK).exists()
    assert prepare(config).digest == unpacked.digest


@pytest.fixture
def interrupted(tmp_path: Path) -> tuple[DataConfig, Path]:
    """A recipe whose preparation was interrupted after the file was unpacked, and the copy that this left."""
    config = recipe(tmp_path, "a.txt.gz", PACKED, unpack=True)

    def stop(*_: Any, **__: Any) -> None:
        raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaned_files, "_write", stop)
        with pytest.raises(RuntimeError, match="StopError"):
            prepare(config)
    (copy,) = (path for path in (Path(config.dataset) / WORK).glob("unpacked-*") if not path.suffix)
    assert copy.read_bytes() == TEXT
    return config, copy


def test_an_interrupted_preparation_does_not_unpack_again(
    interrupted: tuple[DataConfig, Path], caplog: pytest.LogCaptureFixture
) -> None:
    config, copy = interrupted
    made_ns = copy.stat().st_mtime_ns
    times: set[int] = set()

    def look(state: Progress) -> None:
        if state.stage == "groups" and copy.exists():
            times.add(copy.stat().st_mtime_ns)

    prepare(config, progress=look)
    assert times == {made_ns}
    assert "damaged" not in caplog.text


@pytest.mark.parametrize("file", ["the copy", "its record"])
@pytest.mark.parametrize("damage", ["a changed byte", "half", "empty", "gone"])
def test_a_damaged_copy_is_made_again_and_said(
    tmp_path: Path, interrupted: tuple[DataConfig, Path], caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    config, copy = interrupted
    place = copy if file == "the copy" else copy.with_name(f"{copy.name}.json")
    content = place.read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    place.write_bytes({"a changed byte": changed, "half": content[:middle]}.get(damage, b""))
    if damage == "gone":
        place.unlink()
    manifest = prepare(config)
    plain = prepare(recipe(tmp_path, "a.txt", TEXT))
    assert [shard.sha256 for shard in manifest.shards] == [shard.sha256 for shard in plain.shards]
    assert f"{copy.name} was damaged or incomplete; it is made again" in caplog.text


def test_a_share_checks_the_copies_of_other_shares(
    tmp_path: Path, interrupted: tuple[DataConfig, Path], caplog: pytest.LogCaptureFixture
) -> None:
    config, copy = interrupted
    content = copy.read_bytes()
    middle = len(content) // 2
    copy.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    prepare_share(config, Share(2, 2))  # the only file is an item of the first share
    assert f"{copy.name} was damaged or incomplete; it is made again" in caplog.text
    manifest = prepare_share(config, Share(1, 2))
    assert isinstance(manifest, Manifest)
    plain = prepare(recipe(tmp_path, "a.txt", TEXT))
    assert [shard.sha256 for shard in manifest.shards] == [shard.sha256 for shard in plain.shards]


def test_damaged_file_is_not_unpacked_by_half(tmp_path: Path) -> None:
    config = recipe(tmp_path, "a.txt.gz", PACKED[:-9], unpack=True)
    with pytest.raises(UserError, match="truncated"):
        prepare(config)
    assert not Path(config.dataset).exists()
