"""What a file is, by its first bytes: compression is removed, tables and text are kept apart, others are named."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from configs.errors import UserError
from configs.files import MOST_WHOLE_BYTES, too_large
from preprocessing.storage import compression_of, decompressed

STDIN = "-"
PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
ZIP = b"PK\x03\x04"
BUFFER = 1 << 16
_BLOCK_BYTES = 1 << 20

NAMED = {  # other files that people have, by their first bytes, and what to do with them
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save it as CSV (UTF-8)"),
    b"\x04\x22\x4d\x18": ("LZ4 data", "decompress it"),
    b"\x5d\x00\x00": ("LZMA data", "decompress it"),
    b"\x1f\x9d": ("data of `compress` (.Z)", "decompress it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it and give one of its files"),
    b"Rar!\x1a\x07": ("a rar archive", "unpack it and give one of its files"),
    b"\x89PNG": ("a PNG image", "give text"),
    b"\xff\xd8\xff": ("a JPEG image", "give text"),
    b"GIF8": ("a GIF image", "give text"),
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
        suffix = compression_of(raw.peek(BUFFER))
        with raw, decompressed(raw, place, suffix) if suffix else raw as stream:
            _refuse_other_kinds(stream, place)
            yield stream
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", place=place, fix="check the file") from error


def read_whole(stream: io.BufferedReader, place: str, most_bytes: int = MOST_WHOLE_BYTES) -> bytes:
    """Return the rest of a file. Raises `UserError` if it is longer than `most_bytes`, of a plain file unread."""
    content = bytearray()
    size = os.fstat(stream.fileno()).st_size if isinstance(stream.raw, io.FileIO) else 0
    while size <= most_bytes and (block := stream.read(_BLOCK_BYTES)):
        content += block
        size = max(size, len(content))
    if size > most_bytes:
        raise UserError(too_large(most_bytes), place=place, fix="give a smaller file")
    return bytes(content)


def place_of(path: Path) -> str:
    """Return the name of a file in messages."""
    return "standard input" if str(path) == STDIN else str(path)


def _refuse_other_kinds(stream: io.BufferedReader, place: str) -> None:
    first = stream.peek(BUFFER)
    if compression_of(first):
        raise UserError("this is compressed twice", place=place, fix="decompress it once")
    if first[257:262] == b"ustar":
        raise UserError("this is a tar archive", place=place, fix="unpack it and give one of its files")
    for magic, (kind, fix) in NAMED.items():
        if first.startswith(magic):
            raise UserError(f"this is {kind}", place=place, fix=fix)
    if first.startswith(ZIP):
        kind, fix = _kind_of_zip(stream, place)
        raise UserError(f"this is {kind}", place=place, fix=fix)


def _kind_of_zip(stream: io.BufferedReader, place: str) -> tuple[str, str]:
    try:
        names = zipfile.ZipFile(io.BytesIO(read_whole(stream, place))).namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive", "copy it again"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook", "save it as CSV (UTF-8)"
    if any(name.startswith("word/") for name in names):
        return "a Word document", "save it as plain text (UTF-8)"
    if "mimetype" in names:
        return "an OpenDocument file", "save its table as CSV (UTF-8)"
    return "a zip archive", f"unpack it and give one of its files, e.g. {names[0]}" if names else "give a file"
