"""Find and open input files, on local disks and at URLs."""

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from configs.errors import UserError
from preprocessing.documents.compression import decompressed, is_compressed
from preprocessing.storage import file_bytes, files_below, is_url, open_file

_BUFFER_BYTES = 1 << 20
_WILDCARD = re.compile(r"(\*\*|\*|\?|\[(?:!.|[^!])[^\]]*\])")
_FOREIGN_STARTS = {
    b"\x1f\x8b": "gzip data without the suffix .gz",
    b"BZh": "bzip2 data without the suffix .bz2",
    b"\xfd7zXZ": "xz data without the suffix .xz",
    b"\x28\xb5\x2f\xfd": "zstandard data without the suffix .zst",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "Parquet, which is a separate format",
    b"%PDF-": "PDF",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True)
class SourceFile:
    """An input file and its size in bytes, as stored."""

    path: str
    size: int


@dataclass
class ReadCounter:
    """Counts the bytes read from the input files."""

    bytes: int = 0


def find_files(patterns: list[str]) -> list[SourceFile]:
    """Return the files that paths, folders (recursively) and globs match, sorted by path, each once.

    Below a folder, names that begin with `.` or `_` are skipped, because they are caches and job markers. Links to
    files are followed, whatever their target. Raises `UserError` for a pattern that matches no file, and for an entry
    that is neither a file nor a folder: a pipe, which would block forever, a dangling link, or a link to a folder below
    a folder.
    """
    found: dict[str, SourceFile] = {}
    for pattern in patterns:
        files = _match_pattern(pattern)
        if not files:
            fix = "correct data.corpora paths: a file, a folder or a glob such as dump/*.bz2 (** includes subfolders)"
            raise UserError("no such file", place=pattern, fix=fix)
        found.update((file.path, file) for file in files)
    return sorted(found.values(), key=lambda file: file.path)


def open_source(path: str, start: int, meter: ReadCounter) -> BinaryIO:
    """Open an input file and return its decompressed content from byte `start` on (0 when it is compressed).

    `meter` counts the bytes read from the file as stored. Raises `UserError`, also during later reads.
    """
    metered = open_stored(path, meter)
    metered.seek(start) if start else None
    stream: io.BufferedReader[Any] = decompressed(metered, path) if is_compressed(path) else metered
    if start == 0:
        _check_start(stream, path)
    return stream


def open_stored(path: str, meter: ReadCounter) -> io.BufferedReader[Any]:
    """Open an input file as stored, without decompression, for reading and seeking. Otherwise like `open_source`."""
    try:
        stored = open_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return io.BufferedReader(_Metered(stored, path, meter), _BUFFER_BYTES)


def _match_pattern(pattern: str) -> list[SourceFile]:
    path = pattern if is_url(pattern) else os.path.abspath(os.path.expanduser(pattern))
    path = path.rstrip("/") or path
    try:
        if os.path.isdir(path):
            _refuse_unreadable_entries(path)
            return _files_in(path)
        size = file_bytes(path)
        found = _match_glob(path) if size is None else [SourceFile(path, size)]
        for file in found:
            _refuse_special_file(file.path)
        return found or _files_in(path)  # object stores have no folders that could exist
    except OSError as error:
        raise _unreadable(pattern, error) from error


def _files_in(folder: str) -> list[SourceFile]:
    files = [SourceFile(*file) for file in files_below(folder)]
    return [file for file in files if not re.search(r"/[._]", file.path[len(folder) :])]


def _match_glob(pattern: str) -> list[SourceFile]:
    """Return the files, except hidden ones, that a glob matches. Only `**` matches across folders."""
    parts = _WILDCARD.split(pattern)
    if len(parts) == 1:
        return []
    folder = parts[0].rpartition("/")[0]
    depth = None if "**" in parts else pattern[len(folder) :].count("/")
    expression = "".join(_expression_of(part) if place % 2 else re.escape(part) for place, part in enumerate(parts))
    files = (SourceFile(*file) for file in files_below(folder or "/", depth))
    found = (file for file in files if re.fullmatch(expression, file.path, re.DOTALL))
    return [file for file in found if not file.path.rpartition("/")[2].startswith(".")]


def _expression_of(wildcard: str) -> str:
    """Return the regular expression that is equivalent to a wildcard."""
    if not wildcard.startswith("["):
        return {"**": ".*", "*": "[^/]*", "?": "[^/]"}[wildcard]
    negation = "^" if wildcard[1] == "!" else ""
    letters = wildcard[1 + len(negation) : -1].replace("\\", r"\\").replace("^", r"\^")
    return f"[{negation}{letters}]"


def _refuse_unreadable_entries(folder: str) -> None:
    """Raise `UserError` for entries of a local folder that cannot be read, so that no input is skipped silently."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in folders:
            if os.path.islink(path := os.path.join(place, name)):
                fix = "name the folder itself in data.corpora paths, or remove the link"
                raise UserError("links to folders are not followed", place=path, fix=fix)
        for name in files:
            if not name.startswith((".", "_")):
                _refuse_special_file(os.path.join(place, name))


def _refuse_special_file(path: str) -> None:
    if is_url(path):
        return
    if not os.path.exists(path):
        raise UserError("the link is dangling: its target does not exist", place=path, fix="correct it or remove it")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UserError("this is a pipe or a device, not a file", place=path, fix="write its content to a file")


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"cannot read: {error.strerror or error}", place=path, fix="check the path and its permissions")


def _check_start(stream: io.BufferedReader[Any], path: str) -> None:
    """Raise `UserError` if the first bytes show that the content is not UTF-8 text."""
    start = stream.peek(512)
    if start[257:262] == b"ustar":
        raise UserError("this is a tar archive", place=path, fix="unpack it")
    for signature, kind in _FOREIGN_STARTS.items():
        if start.startswith(signature):
            fix = "convert it to UTF-8 text, or add the suffix of its compression format"
            raise UserError(f"this is {kind}", place=path, fix=fix)


class _Metered(io.RawIOBase):
    """Counts the bytes read, and converts read errors into `UserError`."""

    def __init__(self, stream: IO[bytes], path: str, meter: ReadCounter) -> None:
        self._stream = stream
        self._path = path
        self._meter = meter

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._stream.seek(offset, whence)
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io hands over a memoryview
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:
            raise _unreadable(self._path, error) from error
        buffer[: len(data)] = data
        self._meter.bytes += len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
