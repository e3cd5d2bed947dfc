from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.files import (
    MOST_BYTES,
    atomic_folder,
    atomic_write,
    atomic_write_text,
    explain_write_errors,
    read_bounded,
    sha256_of_file,
)


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as stream:
        stream.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_and_fail() -> None:
        with atomic_write(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = """
import os, signal, sys
from pathlib import Path
from configs.files import atomic_write
with atomic_write(Path(sys.argv[1])) as stream:
    stream.write(b"x" * 100_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # whose block ended last


def test_text_is_utf8(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "file", "größe 日本\n")
    assert (tmp_path / "file").read_bytes() == "größe 日本\n".encode()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "file", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_record_that_is_larger_than_any_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes, the limit for such a file"):
        read_bounded(path, 4)
    os.truncate(path, 1 << 40)  # sparse
    with pytest.raises(OSError, match="larger than 16 MiB, the limit for such a file"):
        read_bounded(path)
    assert MOST_BYTES < 1 << 30


def test_a_pipe_or_a_device_in_place_of_a_record_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match="Not a regular file"):
            read_bounded(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path)


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "No permission"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_a_folder_that_cannot_be_written_is_explained(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught, explain_write_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert caught.value.place == str(tmp_path)


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300), Path("/proc/none")):
        with pytest.raises(UserError, match="choose a"), explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)


def test_other_errors_are_not_changed(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explain_write_errors(tmp_path):
        tmp_path.write_text("")


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "new" / "folder") as partial:
        (partial / "inside").mkdir()
        (partial / "inside" / "file").write_text("text")
        assert not (tmp_path / "new" / "folder").exists()
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["folder", "inside", "file"]
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "other"):
        _ = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    with pytest.raises(UserError, match="already exists"), atomic_folder(tmp_path / "new"):
        pass
