"""Paths, folders and globs match files by the same rules; what cannot be listed or read is reported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import UserError
from preprocessing.documents.file_search import find_files
from preprocessing.documents.input_files import SourceFile


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


@pytest.mark.parametrize("pattern", ["a\0b.txt", "a\0*.txt", "s3://bucket/a\0b"])
def test_a_nul_in_a_path_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="a path cannot hold a NUL") as raised:
        find_files([pattern if "://" in pattern else str(tmp_path / pattern)])
    assert "\0" not in raised.value.place


def test_unknown_file_system_is_reported() -> None:
    with pytest.raises(UserError, match="no installed library supports nosuchscheme://"):
        find_files(["nosuchscheme://bucket/file"])


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


@pytest.mark.parametrize(
    "pattern", ["", "/*", "/**", "/**/*.txt", "/*/*.txt", "/linked", "/l*/part.txt", "/**/part.txt"]
)
def test_links_to_folders_are_followed(tmp_path: Path, pattern: str) -> None:
    corpus = tmp_path / "corpus"
    for folder in (corpus / "real", tmp_path / "store"):
        folder.mkdir(parents=True)
        (folder / "part.txt").write_text("text")
    (corpus / "linked").symlink_to(tmp_path / "store")
    found = names(find_files([f"{corpus}{pattern}"]), corpus)
    assert found == (["linked/part.txt"] if pattern.startswith("/l") else ["linked/part.txt", "real/part.txt"])


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.txt"])
def test_a_loop_of_links_is_refused(tree: Path, pattern: str) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    with pytest.raises(UserError, match="the link leads to a folder that it is in") as raised:
        find_files([f"{tree}{pattern}"])
    assert raised.value.place == f"{tree}/sub/loop"
    assert len(find_files([f"{tree}/*.txt", f"{tree}/sub/*.txt"])) == 3


def test_a_glob_that_matches_a_folder_stands_for_its_files(tree: Path) -> None:
    assert names(find_files([f"{tree}/*"]), tree) == names(find_files([str(tree)]), tree)
    assert names(find_files([f"{tree}/s*"]), tree) == ["sub/c.txt", "sub/deep/d.txt"]
    assert names(find_files([f"{tree}/**/deep"]), tree) == ["sub/deep/d.txt"]


def test_two_asterisks_stand_for_any_number_of_folders(tree: Path) -> None:
    assert names(find_files([f"{tree}/**/*.txt"]), tree) == ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]
    assert names(find_files([f"{tree}/sub/**/d.txt"]), tree) == ["sub/deep/d.txt"]


def test_globs_skip_hidden_names_as_folders_do_unless_they_are_given(tree: Path) -> None:
    assert names(find_files([f"{tree}/*"]), tree) == names(find_files([f"{tree}/**"]), tree)
    assert names(find_files([f"{tree}/_*"]), tree) == ["_SUCCESS"]
    assert names(find_files([f"{tree}/.*.txt"]), tree) == [".hidden.txt"]
    assert names(find_files([f"{tree}/**/.cache/*"]), tree) == ["sub/.cache/e.txt"]


def test_a_folder_named_like_a_glob_is_found_before_a_wildcard(tmp_path: Path) -> None:
    odd = tmp_path / "notes [v2]"
    odd.mkdir()
    (odd / "a.txt").write_text("x")
    assert [file.path for file in find_files([f"{odd}/*.txt"])] == [f"{odd}/a.txt"]


def test_side_files_of_a_format_are_skipped_below_a_folder_only(tree: Path) -> None:
    assert names(find_files([str(tree)], ["b.*", "c.txt"]), tree) == ["a.txt", "sub/deep/d.txt"]
    assert names(find_files([f"{tree}/b.txt"], ["b.*"]), tree) == ["b.txt"]


def test_files_with_several_names_are_named_in_a_warning(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    find_files([str(tree)])
    assert caplog.text == ""
    (tree / "latest").symlink_to(tree / "sub")
    assert len(find_files([str(tree)])) == 6
    assert "2 input files are read under several names" in caplog.text


WALK = "import sys; from preprocessing.documents.file_search import find_files; print(len(find_files(sys.argv[1:])))"
AS_OTHERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads every folder")
@pytest.mark.parametrize("pattern", ["", "/*", "/**", "/*/*.txt", "/**/*.txt", "/sub", "/sub/c.txt", "/s*/c.txt"])
def test_a_folder_that_cannot_be_listed_is_an_error(tree: Path, pattern: str) -> None:
    (tree / "sub").chmod(0)
    try:
        argv = [*AS_OTHERS, sys.executable, "-c", WALK, f"{tree}{pattern}"]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    finally:
        (tree / "sub").chmod(0o700)
    assert ended.returncode == 1
    what = "read" if pattern == "/sub/c.txt" else "list the folder"
    assert f"cannot {what}: Permission denied" in ended.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads every folder")
def test_a_glob_does_not_list_folders_that_it_cannot_match(tree: Path) -> None:
    (tree / "sub").chmod(0)
    try:
        argv = [*AS_OTHERS, sys.executable, "-c", WALK, f"{tree}/*.txt", f"{tree}/[!s]*/*"]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    finally:
        (tree / "sub").chmod(0o700)
    assert "no such file" in ended.stderr  # the second pattern; nothing about permissions
    assert "Permission denied" not in ended.stderr
