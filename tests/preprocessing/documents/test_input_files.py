"""Paths, folders and globs match files in a fixed order; missing and unreadable files are reported."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter, SourceFile, find_files, open_source


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt", ".hidden.txt", "_SUCCESS", "sub/.cache/e.txt"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "corpus"


def names(files: list[SourceFile], tree: Path) -> list[str]:
    return [str(Path(file.path).relative_to(tree)) for file in files]


def test_folder_matches_all_files_below_it(tree: Path) -> None:
    assert names(find_files([str(tree)]), tree) == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]
    assert find_files([f"{tree}/"]) == find_files([str(tree)])


def test_globs_match_files(tree: Path) -> None:
    assert names(find_files([f"{tree}/*.txt"]), tree) == ["a.txt", "b.txt"]
    assert names(find_files([f"{tree}/**.txt"]), tree)[:2] == ["a.txt", "b.txt"]
    assert names(find_files([f"{tree}/sub/*/d*"]), tree) == ["sub/deep/d.txt"]


def test_hidden_file_is_found_by_name(tree: Path) -> None:
    assert find_files([f"{tree}/.hidden.txt"]) == [SourceFile(f"{tree}/.hidden.txt", len(".hidden.txt"))]


def test_files_are_unique_and_sorted(tree: Path) -> None:
    files = find_files([f"{tree}/sub", f"{tree}/b.txt", f"{tree}/*.txt"])
    assert names(files, tree) == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]


def test_existing_name_with_glob_characters_is_not_a_glob(tmp_path: Path) -> None:
    odd = tmp_path / "notes [v2]*.txt"
    odd.write_text("x")
    (tmp_path / "notes v.txt").write_text("y")
    assert [file.path for file in find_files([str(odd)])] == [str(odd)]


def test_relative_path_is_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names(find_files(["sub"]), tree) == ["sub/c.txt", "sub/deep/d.txt"]
    assert names(find_files(["*.txt"]), tree) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("pattern", ["nothing.txt", "nothing/*.bz2", "empty"])
def test_pattern_without_files_is_reported(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no such file") as raised:
        find_files([str(tmp_path / pattern)])
    assert raised.value.place == str(tmp_path / pattern)


def test_unknown_file_system_is_reported() -> None:
    with pytest.raises(UserError, match="no installed library supports nosuchscheme://"):
        find_files(["nosuchscheme://bucket/file"])


def test_counter_counts_stored_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"line\n" * 100_000))
    meter = ReadCounter()
    with open_source(str(path), 0, meter) as stream:
        assert len(stream.read()) == 500_000
    assert meter.bytes == path.stat().st_size


def test_reading_starts_at_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    with open_source(str(path), 7, ReadCounter()) as stream:
        assert stream.read() == b"789"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(b"text", mtime=0), "gzip data without the suffix"),
        ("text".encode("utf-16"), "UTF-16 text"),
        (b"PK\x03\x04rest of a zip", "a zip archive"),
    ],
)
def test_content_that_is_not_text_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=kind):
        open_source(str(path), 0, ReadCounter())


def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read: No such file") as raised:
        open_source(str(tmp_path / "gone.txt"), 0, ReadCounter())
    assert raised.value.place == str(tmp_path / "gone.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_file_without_permission_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("secret")
    path.chmod(0)
    with pytest.raises(UserError, match="cannot read: Permission denied"):
        open_source(str(path), 0, ReadCounter())


def test_failing_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read: Is a directory"), open_source(str(tmp_path), 0, ReadCounter()):
        pass


@pytest.mark.parametrize("place", ["corpus", "corpus/pipe", "corpus/p*"])
def test_pipe_is_refused_without_blocking(tmp_path: Path, place: str) -> None:
    (tmp_path / "corpus").mkdir()
    os.mkfifo(tmp_path / "corpus" / "pipe")
    with pytest.raises(UserError, match="a pipe or a device, not a file") as raised:
        find_files([str(tmp_path / place)])
    assert raised.value.place == str(tmp_path / "corpus" / "pipe")


def test_link_to_a_file_is_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("linked")
    (tree / "sub" / "e.txt").symlink_to(tmp_path / "blob")
    assert SourceFile(f"{tree}/sub/e.txt", len("linked")) in find_files([str(tree)])


def test_link_to_a_folder_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tree / "sub" / "more").symlink_to(tmp_path / "more")
    with pytest.raises(UserError, match="links to folders are not followed") as raised:
        find_files([str(tree)])
    assert raised.value.place == f"{tree}/sub/more"


def test_dangling_link_is_refused(tree: Path) -> None:
    (tree / "gone.txt").symlink_to(tree / "nowhere")
    with pytest.raises(UserError, match="the link is dangling") as raised:
        find_files([str(tree)])
    assert raised.value.place == f"{tree}/gone.txt"


def test_special_files_with_skipped_names_are_not_errors(tree: Path) -> None:
    os.mkfifo(tree / ".pipe")
    (tree / "_link").symlink_to(tree / "nowhere")
    (tree / ".cache").symlink_to(tree / "sub")
    assert len(find_files([str(tree)])) == 4


def test_archive_inside_a_compressed_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    with pytest.raises(UserError, match="a tar archive"):
        open_source(str(tmp_path / "a.tar.gz"), 0, ReadCounter())
