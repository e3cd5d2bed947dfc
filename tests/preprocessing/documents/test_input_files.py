"""Input files are opened, counted and read from any offset; content that is not text is refused."""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter, open_section, open_source


def test_counter_counts_stored_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"line\n" * 100_000))
    meter = ReadCounter()
    with open_source(str(path), meter) as stream:
        assert len(stream.read()) == 500_000
    assert meter.bytes == path.stat().st_size


def test_a_section_begins_one_byte_before_its_start(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    section = open_section(str(path), 7, 9, ReadCounter(), "utf-8")
    with section.stream:
        assert (section.start, section.end, section.stream.read()) == (7, 9, b"6789")


def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read: No such file") as raised:
        open_source(str(tmp_path / "gone.txt"), ReadCounter())
    assert raised.value.place == str(tmp_path / "gone.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_file_without_permission_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("secret")
    path.chmod(0)
    with pytest.raises(UserError, match="cannot read: Permission denied"):
        open_source(str(path), ReadCounter())


def test_failing_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read: Is a directory"), open_source(str(tmp_path), ReadCounter()):
        pass


def test_archive_inside_a_compressed_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    with pytest.raises(UserError, match="a tar archive"):
        open_source(str(tmp_path / "a.tar.gz"), ReadCounter())
