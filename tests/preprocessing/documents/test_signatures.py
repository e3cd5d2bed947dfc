"""Files that are not text, or not UTF-8, are named with a fix when they are opened."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter, open_source

TEXT = ("Привет, мир! Это обычный текст, в котором нет ничего особенного. " * 20).encode()


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Figure().savefig(stream, format=kind)
    return stream.getvalue()


def archived(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("word/document.xml", TEXT)
    else:
        with tarfile.open(fileobj=stream, mode="w") as unpacked:
            unpacked.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return stream.getvalue()


def arrow(kind: str) -> bytes:
    table, stream = pa.table({"text": ["one"] * 50}), io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, stream)
    else:
        with {"stream": pa.ipc.new_stream, "file": pa.ipc.new_file}[kind](stream, table.schema) as writer:
            writer.write_table(table)
    return stream.getvalue()


def array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(9))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "fix"),
    [
        (gzip.compress(TEXT, mtime=0), "gzip data without", "suffix"),
        (bz2.compress(TEXT), "bzip2 data without", "suffix"),
        (lzma.compress(TEXT), "xz data without", "suffix"),
        (lzma.compress(TEXT, lzma.FORMAT_ALONE), "LZMA", "unpack"),
        (b"\x04\x22\x4d\x18" + TEXT, "LZ4", "unpack"),
        (b"\x1f\x9d\x90" + TEXT, r"\.Z", "unpack"),
        (archived("zip"), "zip archive, or an office document", "extract its text"),
        (archived("tar"), "tar archive", "unpack"),
        (arrow("parquet"), "Parquet", 'format = "parquet"'),
        (arrow("file"), "Arrow", 'format = "arrow"'),
        (arrow("stream"), "Arrow stream", 'format = "arrow"'),
        (b"WARC/1.0\r\nWARC-Type: conversion\r\n", "web archive", 'format = "warc"'),
        (pickle.dumps([TEXT.decode()]), "pickle", "JSON lines"),
        (pickle.dumps({"text": TEXT.decode()}, protocol=2), "pickle", "JSON lines"),
        (array(), "NumPy", "remove"),
        (picture("png"), "PNG", "remove"),
        (picture("jpeg"), "JPEG", "remove"),
        (picture("tiff"), "TIFF", "remove"),
        (picture("pdf"), "PDF", "extract its text"),
        (picture("ps"), "PostScript", "extract its text"),
        (b"SQLite format 3\0" + bytes(100), "SQLite", "remove"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "Git LFS", "git lfs pull"),
        ("これは本です。".encode("iso2022_jp") * 9, "ISO 2022", 'encoding = "iso2022_jp_2"'),
        ("이것은 책입니다.".encode("iso2022_kr") * 9, "ISO 2022", 'encoding = "iso2022_kr"'),
        ("这是一本书。\nIt is a book.\n".encode("hz") * 9, "HZ", 'encoding = "hz"'),
        (("这是一本很长的书" * 60 + "。\n").encode("hz") * 9, "HZ", 'encoding = "hz"'),
        (TEXT.decode().encode("utf-7"), "UTF-7", 'encoding = "utf-7"'),
        ("Das heißt: für Käse gibt es Löffel, größer als früher. ".encode("utf-7") * 9, "UTF-7", "utf-7"),
        (b"Call +4915112345678 or +493012345 or +33612345678. " * 9, "", ""),
        (b"a += b++ + ++c; d+e-f; x+long_name-y; ~{ } ~} " * 9, "", ""),
        (b"\x1b[31mA coloured log\x1b[0m, and $B as text. " * 9, "", ""),
        (bytes(range(31)) * 200, "binary data", "remove"),
        (TEXT.decode().encode("utf-16"), "UTF-16", 'encoding = "utf-16"'),
        (TEXT.decode().encode("utf-32"), "UTF-32", 'encoding = "utf-32"'),
        (TEXT.decode().encode("utf-16-le"), "UTF-16-LE", 'encoding = "utf-16-le"'),
        (TEXT.decode().encode("utf-16-be"), "UTF-16-BE", 'encoding = "utf-16-be"'),
        (b"plain text " * 9, "", ""),
        (TEXT, "", ""),
        (b"\x80 sign of an old encoding. " * 9, "", ""),
        (b"a few \0 bytes \0 of damage " + TEXT, "", ""),
    ],
)
@pytest.mark.parametrize("is_packed", [False, True])
def test_what_is_not_text_is_refused_and_named(
    tmp_path: Path, content: bytes, kind: str, fix: str, is_packed: bool
) -> None:
    path = tmp_path / ("a.txt.gz" if is_packed else "a.txt")
    path.write_bytes(gzip.compress(content) if is_packed else content)
    if not kind:
        with open_source(str(path), ReadCounter()) as stream:
            assert stream.read() == content
        return
    with pytest.raises(UserError, match=kind) as raised:
        open_source(str(path), ReadCounter())
    assert (raised.value.place, fix in raised.value.fix) == (str(path), True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso2022_jp_2", "utf-7"])
def test_the_named_encoding_reads_the_file(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.decode().encode(encoding))
    with open_source(str(tmp_path / "a.txt"), ReadCounter(), encoding) as stream:
        assert stream.read() == TEXT


def test_hz_is_read(tmp_path: Path) -> None:
    text = "这是一本书。\nIt is a book.\n" * 9000
    (tmp_path / "a.txt").write_bytes(text.encode("hz"))
    with open_source(str(tmp_path / "a.txt"), ReadCounter(), "hz") as stream:
        assert stream.read().decode() == text
