"""The input is its content: finished work belongs to the bytes that it was made from."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.schema import DataConfig
from preprocessing.dataset.manifest import Manifest
from preprocessing.documents import content
from preprocessing.documents.input_files import SourceFile
from preprocessing.documents.plan import make_plan
from preprocessing.documents.progress import Progress
from preprocessing.pipeline import prepare
from preprocessing.resuming import inputs
from preprocessing.resuming.share import Share
from preprocessing.storage import FileState
from preprocessing.storage.local_store import LocalStore
from tests.preprocessing.corpora import digests, make_documents, small_config, write_text

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *"abcdefghijklmnopqrstuvwxyz0123456789"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two input files of about 50 kB."""
    documents = make_documents(300)
    write_text(tmp_path / "in" / "a.txt", documents[:150])
    write_text(tmp_path / "in" / "b.txt", documents[150:])
    return tmp_path / "in"


@pytest.fixture
def config(tmp_path: Path, folder: Path) -> DataConfig:
    """A recipe with a vocabulary of letters, so that it does not depend on the text."""
    pieces = [*VOCABULARY, *(f"##{letter}" for letter in VOCABULARY[6:])]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return small_config(tmp_path / "dataset", folder, vocabulary={"file": str(tmp_path / "vocab.txt")})


def edit(path: Path) -> None:
    """Replace a word by another one of the same length, everywhere."""
    text = path.read_text()
    assert "begins" in text
    path.write_text(text.replace("begins", "starts"))


def edit_secretly(path: Path) -> None:
    """Edit the file without a change of its modification time, as archives and `cp -p` do."""
    before = path.stat()
    edit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def fresh(config: DataConfig, tmp_path: Path) -> dict[str, str]:
    """The files of the same recipe, made at once in another folder."""
    other = config.model_copy(update={"dataset": str(tmp_path / "fresh")})
    prepare(other)
    return digests(tmp_path / "fresh")


class At:
    """Calls `act` at the first report of a stage with at least so many finished groups."""

    def __init__(self, stage: str, act: Callable[[], object], groups: int = 0) -> None:
        self.stage, self.act, self.groups, self.has_acted = stage, act, groups, False

    def __call__(self, now: Progress) -> None:
        if not self.has_acted and now.stage == self.stage and now.groups >= self.groups:
            self.has_acted = True
            self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def sha256_by_hand(data: bytes, piece_bytes: int) -> str:
    pieces = [data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)]
    return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()


def test_the_manifest_lists_every_input_file_with_the_digest_of_its_content(config: DataConfig, folder: Path) -> None:
    (folder / "empty.txt").touch()
    (folder / "deep").mkdir()
    (folder / "b.txt").rename(folder / "deep" / "b.txt")
    manifest = prepare(config)
    listed = {entry.name: (entry.corpus, entry.bytes, entry.sha256) for entry in manifest.inputs}
    files = {name: (folder / name).read_bytes() for name in ("a.txt", "deep/b.txt", "empty.txt")}
    assert listed == {name: (0, len(data), sha256_by_hand(data, 1 << 26)) for name, data in files.items()}


@pytest.mark.parametrize("size", [0, 1, 999, 1_000, 1_001, 5_500])
def test_a_file_is_hashed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(content, "PIECE_BYTES", 1_000)
    path = tmp_path / "a"
    path.write_bytes(os.urandom(size))
    states = content.states_of([SourceFile(str(path), size)])
    found = dict(content.digest_files(states, lambda _: None))
    assert found[str(path)].sha256 == sha256_by_hand(path.read_bytes(), 1_000)


@pytest.mark.parametrize("change", [edit, edit_secretly])
def test_an_edit_of_the_same_size_is_noticed_after_the_data_set_is_finished(
    config: DataConfig, folder: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    prepare(config)
    before = digests(Path(config.dataset))
    change(folder / "b.txt")
    with pytest.raises(UserError, match=r"b\.txt has other content") as raised:
        prepare(config)
    assert "--overwrite" in raised.value.fix
    assert digests(Path(config.dataset)) == before
    prepare(config, overwrite=True)
    assert digests(Path(config.dataset)) == fresh(config, tmp_path) != before


def test_files_that_came_and_went_are_named(config: DataConfig, folder: Path) -> None:
    prepare(config)
    (folder / "a.txt").rename(folder / "c.txt")
    with pytest.raises(UserError, match=r"c\.txt is new, a\.txt is missing"):
        prepare(config)


def test_a_touched_or_moved_file_is_the_same_input(config: DataConfig, folder: Path, tmp_path: Path) -> None:
    first = prepare(config)
    os.utime(folder / "a.txt")
    assert prepare(config) == first
    folder.rename(tmp_path / "elsewhere")
    assert prepare(small_config(tmp_path / "dataset", tmp_path / "elsewhere", vocabulary=config.vocabulary)) == first


@pytest.mark.parametrize("duplicates", ["none", "exact"])
@pytest.mark.parametrize("stage", ["vocabulary", "groups"])
def test_work_on_an_exchanged_file_is_made_again_and_no_other(
    config: DataConfig,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    duplicates: str,
    stage: str,
) -> None:
    table = {**config.model_dump(), "duplicates": duplicates}
    if stage == "vocabulary":
        table["vocabulary"] = {"size": 150}
    config = DataConfig.model_validate(table)
    with pytest.raises(KeyboardInterrupt):
        prepare(config, progress=At(stage, interrupt, groups=3 if stage == "groups" else 0))
    items = round((folder / "a.txt").stat().st_size / config.group_bytes)  # of the file that stays as it is
    finished = sorted(Path(config.dataset).glob("groups/0*"))
    kept = {path: path.stat().st_mtime_ns for path in finished if int(path.name[:5]) < items}
    assert len(finished) >= (3 if stage == "groups" else 0)
    assert kept or len(finished) <= 5 - items
    edit(folder / "b.txt")
    with caplog.at_level(logging.WARNING):
        prepare(config)
    assert "b.txt has other content" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert digests(Path(config.dataset)) == fresh(config, tmp_path)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("change", [truncate, zero, edit, Path.unlink])
@pytest.mark.parametrize(("duplicates", "stage"), [("exact", "duplicates"), ("none", "groups")])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    config: DataConfig, folder: Path, change: Callable[[Path], None], duplicates: str, stage: str
) -> None:
    config = DataConfig.model_validate({**config.model_dump(), "duplicates": duplicates})
    path = folder / "b.txt"
    original = path.read_bytes()
    with pytest.raises(UserError, match="the file changed while it was read") as raised:
        prepare(config, progress=At(stage, lambda: change(path)))
    assert raised.value.place == str(path)
    path.write_bytes(original)
    assert prepare(config).statistics.documents == 300  # the fix works


def test_a_file_that_changes_while_it_is_hashed_is_an_error(config: DataConfig, folder: Path) -> None:
    path = folder / "a.txt"
    states = content.states_of([SourceFile(str(path), path.stat().st_size)])
    truncate(path)
    with pytest.raises(UserError, match="the file changed while it was read"):
        list(content.digest_files(states, lambda _: None))
    with pytest.raises(UserError, match="the file changed"):
        content.states_of([SourceFile(str(path), states[str(path)].size)])


def test_only_files_whose_state_changed_are_hashed_again(
    config: DataConfig, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    original = content.digest_piece

    def note(piece: content.Piece, *rest: object) -> bytes:
        hashed.append(Path(piece.path).name)
        return original(piece, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(content, "digest_piece", note)
    monkeypatch.setattr(inputs, "_SETTLED_NS", 0)
    first = prepare(config)
    assert sorted(hashed) == ["a.txt", "b.txt"]
    os.utime(folder / "b.txt")
    assert prepare(config) == first
    assert sorted(hashed) == ["a.txt", "b.txt", "b.txt"]
    record = Path(config.dataset) / "groups" / "inputs.json"
    assert set(json.loads(record.read_text())) == {str(folder / "a.txt"), str(folder / "b.txt"), "check"}
    record.write_text('{"damaged')
    assert prepare(config) == first
    assert len(hashed) == 5


def test_a_file_that_was_just_written_is_hashed_again_by_the_next_run(config: DataConfig, folder: Path) -> None:
    """Its next edit could leave the same time of modification."""
    prepare(config)
    assert not (Path(config.dataset) / "groups" / "inputs.json").exists()


def test_the_manifest_says_nothing_about_this_machine(config: DataConfig) -> None:
    manifest: Manifest = prepare(config)
    text = manifest.model_dump_json()
    assert str(Path(config.dataset).parent) not in text
    assert "mtime" not in text


@pytest.mark.parametrize("workers", [1, 2])
def test_a_name_that_is_not_utf8_is_escaped_in_the_manifest(
    config: DataConfig, folder: Path, tmp_path: Path, workers: int
) -> None:
    os.rename(folder / "b.txt", os.fsencode(folder) + b"/caf\xe9\n.txt")
    dataset = os.fsdecode(os.fsencode(tmp_path) + b"/d\xff")
    config = config.model_copy(update={"dataset": dataset, "workers": workers})
    manifest = prepare(config)
    assert [entry.name for entry in manifest.inputs] == ["a.txt", "caf\\xe9\n.txt"]
    assert manifest.statistics.documents == 300
    assert prepare(config) == manifest
    os.truncate(os.fsencode(folder) + b"/caf\xe9\n.txt", 1_000)
    with pytest.raises(UserError, match=r"caf\\xe9 \.txt has other content"):
        prepare(config)


def test_shares_hash_each_file_once(
    config: DataConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second share begins with the second file, and finds the first one in the record of the first share."""
    monkeypatch.setattr(inputs, "_SETTLED_NS", 0)
    monkeypatch.setattr(inputs, "_BATCH_BYTES", 1)
    paths = [folder / "a.txt", folder / "b.txt"]
    plan = make_plan([[SourceFile(str(path), path.stat().st_size) for path in paths]], config)
    store = LocalStore(tmp_path / "dataset")
    (store.folder / "groups").mkdir(parents=True)
    hashed: list[str] = []
    original = content.digest_files

    def note(states: dict[str, FileState], tick: Callable[[int], None]) -> Iterator[Any]:
        hashed.extend(Path(path).name for path in states)
        if len(hashed) == 1:  # meanwhile, the other share does its part
            inputs.read_contents(store, plan, lambda *_: None, Share(1, 2))
        return original(states, tick)

    monkeypatch.setattr(inputs, "digest_files", note)
    found = inputs.read_contents(store, plan, lambda *_: None, Share(2, 2))
    assert hashed == ["b.txt", "a.txt", "b.txt"]
    assert {path: found[str(path)].sha256 for path in paths} == {
        path: sha256_by_hand(path.read_bytes(), 1 << 26) for path in paths
    }
