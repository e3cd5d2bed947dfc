"""What a file is, by its first bytes: compression is removed, tables and text are kept apart, others are named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from configs.errors import UserError

STDIN = "-"
PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
ZIP = b"PK\x03\x04"
BUFFER = 1 << 16

COMPRESSED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
ZSTANDARD = b"\x28\xb5\x2f\xfd"

NAMED = {  # other files that people have, by their first bytes, and what to do with them
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save it as CSV (UTF-8)"),
    b"%PDF": ("a PDF file", "export its table as CSV"),
    b"{\\rtf": ("a rich text file", "save it as plain text (UTF-8)"),
    b"SQLite format 3": ("an SQLite data base", "export its table as CSV"),
    b"\x89HDF": ("an HDF5 file", "write it as Parquet"),
    b"\x93NUMPY": ("a NumPy array", "write texts and labels as JSONL"),
    b"\x80\x04": ("a pickle, which can run code and is not read", "write it as JSONL or Parquet"),
    b"\x80\x05": ("a pickle, which can run code and is not read", "write it as JSONL or Parquet"),
    b"<!DOCTYPE html": ("a web page", "download the file itself"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the data", "fetch it: `git lfs pull`"),
}


@contextmanager
def open_content(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, or standard input for `-`, without its compression.

    `peek` shows the first bytes. Raises `UserError` for a file that is missing, unreadable, or of another known kind.
    """
    place = place_of(path)
    try:
        raw = cast(io.BufferedReader, sys.stdin.buffer if str(path) == STDIN else path.open("rb", buffering=BUFFER))
        with raw, _decompressed(raw) as stream:
            _refuse_other_kinds(stream, place)
            yield stream
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", place=place, fix="check the file") from error
    except (EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"a damaged compressed file: {error}", place=place, fix="copy it again") from error


def place_of(path: Path) -> str:
    """Return the name of a file in messages."""
    return "standard input" if str(path) == STDIN else str(path)


def _decompressed(raw: io.BufferedReader) -> io.BufferedReader:
    first = raw.peek(BUFFER)
    for magic, opener in COMPRESSED.items():
        if first.startswith(magic):
            return io.BufferedReader(cast(io.RawIOBase, opener(raw, "rb")), BUFFER)
    if first.startswith(ZSTANDARD):
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return io.BufferedReader(cast(io.RawIOBase, reader), BUFFER)
    return raw


def _refuse_other_kinds(stream: io.BufferedReader, place: str) -> None:
    first = stream.peek(BUFFER)
    for magic, (kind, fix) in NAMED.items():
        if first.startswith(magic):
            raise UserError(f"this is {kind}", place=place, fix=fix)
    if first.startswith(ZIP):
        kind, fix = _kind_of_zip(stream)
        raise UserError(f"this is {kind}", place=place, fix=fix)


def _kind_of_zip(stream: IO[Any]) -> tuple[str, str]:
    try:
        names = zipfile.ZipFile(io.BytesIO(stream.read())).namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive", "copy it again"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook", "save it as CSV (UTF-8)"
    if any(name.startswith("word/") for name in names):
        return "a Word document", "save it as plain text (UTF-8)"
    if "mimetype" in names:
        return "an OpenDocument file", "save its table as CSV (UTF-8)"
    return "a zip archive", f"unpack it and give one of its files, e.g. {names[0]}" if names else "give a file"
