"""Input files: finding and opening them, on whatever file system Beam reaches."""

# mypy: allow-untyped-calls
# Beam's FileSystems are half typed.

from __future__ import annotations

import io
import os
import re
import stat
from dataclasses import dataclass
from typing import Any, BinaryIO

from configs.errors import UserError
from preprocessing.documents.compression import decompressed, is_compressed
from preprocessing.execution import BeamIOError, CompressionTypes, FileMetadata, FileSystems

_BUFFER_BYTES = 1 << 20
_FOREIGN_STARTS = {
    b"\x1f\x8b": "gzip data without the suffix .gz",
    b"BZh": "bzip2 data without the suffix .bz2",
    b"\xfd7zXZ": "xz data without the suffix .xz",
    b"\x28\xb5\x2f\xfd": "zstandard data without the suffix .zst",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "Parquet, which is a format of its own",
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
    """How many bytes of the input files were read."""

    bytes: int = 0


def find_files(patterns: list[str]) -> list[SourceFile]:
    """The files behind paths, folders (with all below them) and globs, sorted by path, each once.

    Below a folder, names that begin with `.` or `_` are passed over: caches and job markers. Links to files are
    followed, wherever they lead. Raises `UserError` for a pattern that leads to no file, and for what is neither file
    nor folder: a pipe, on which reading would wait for ever, a dangling link, a link to a folder below a folder.
    """
    found: dict[str, SourceFile] = {}
    for pattern in patterns:
        files = _match_pattern(pattern)
        if not files:
            fix = "mend data.corpora paths: a file, a folder or a glob such as dump/*.bz2 (** goes into subfolders)"
            raise UserError("no such file", place=pattern, fix=fix)
        found.update((file.path, file) for file in files)
    return sorted(found.values(), key=lambda file: file.path)


def open_source(path: str, start: int, meter: ReadCounter) -> BinaryIO:
    """The content of an input file, decompressed, from byte `start` on (0 when it is compressed).

    `meter` counts the bytes read of the file as it is stored. Raises `UserError`, also later while it is read.
    """
    metered = open_stored(path, meter)
    metered.seek(start) if start else None
    stream: io.BufferedReader[Any] = decompressed(metered, path) if is_compressed(path) else metered
    if start == 0:
        _check_start(stream, path)
    return stream


def open_stored(path: str, meter: ReadCounter) -> io.BufferedReader[Any]:
    """An input file as it is stored, compressed or not, to read and seek. Otherwise as `open_source`."""
    try:
        stored = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    except OSError as error:
        raise _unreadable(path, error) from error
    return io.BufferedReader(_Metered(stored, path, meter), _BUFFER_BYTES)


def _match_pattern(pattern: str) -> list[SourceFile]:
    path = pattern if FileSystems.get_scheme(pattern) else os.path.abspath(os.path.expanduser(pattern))
    path = path.rstrip("/") or path
    try:
        if os.path.isdir(path):
            _refuse_odd_entries(path)
            return _files_below(path)
        if FileSystems.exists(path):
            found = [file for file in _match(_as_glob(path)) if file.path == path]
        else:
            found = [file for file in _match(path) if not file.path.rsplit("/", 1)[-1].startswith(".")]
        for file in found:
            _refuse_odd_file(file.path)
        return found or _files_below(path)  # object stores have no folders to exist
    except (OSError, ValueError) as error:  # ValueError: a scheme that no installed file system answers to
        raise _unreadable(pattern, error) from error


def _files_below(folder: str) -> list[SourceFile]:
    files = [file for file in _match(f"{_as_glob(folder)}/**") if file.path.startswith(f"{folder}/")]
    return [file for file in files if not re.search(r"/[._]", file.path[len(folder) :])]


def _refuse_odd_entries(folder: str) -> None:
    """Raise `UserError` for what stands in a local folder, but is not read: no corpus is shorter than it looks."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in folders:
            if os.path.islink(path := os.path.join(place, name)):
                fix = "name the folder itself in data.corpora paths, or remove the link"
                raise UserError("this is a link to a folder, which is not followed", place=path, fix=fix)
        for name in files:
            if not name.startswith((".", "_")):
                _refuse_odd_file(os.path.join(place, name))


def _refuse_odd_file(path: str) -> None:
    if FileSystems.get_scheme(path):
        return
    if not os.path.exists(path):
        raise UserError("this is a link that leads nowhere", place=path, fix="mend it or remove it")
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UserError("this is no file but a pipe or device", place=path, fix="write what it gives to a file")


def _as_glob(path: str) -> str:
    """A glob that matches the path, whatever its characters; Beam's globs have no quoting."""
    return re.sub(r"[\[*?]", "?", path)


def _match(glob: str) -> list[SourceFile]:
    files: list[FileMetadata] = FileSystems.match([glob])[0].metadata_list
    return [SourceFile(file.path, file.size_in_bytes) for file in files]


def _unreadable(path: str, error: Exception) -> UserError:
    if isinstance(error, BeamIOError) and error.exception_details:
        error = next(iter(error.exception_details.values()))
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot read: {reason}", place=path, fix="check the path and its permissions")


def _check_start(stream: io.BufferedReader[Any], path: str) -> None:
    """Refuse what is plainly no UTF-8 text."""
    start = stream.peek(512)
    if start[257:262] == b"ustar":
        raise UserError("this is a tar archive", place=path, fix="unpack it")
    for signature, kind in _FOREIGN_STARTS.items():
        if start.startswith(signature):
            raise UserError(f"this is {kind}", place=path, fix="give UTF-8 text, or name the file by its compression")


class _Metered(io.RawIOBase):
    """Counts what is read, and turns a failing read into a `UserError`."""

    def __init__(self, stream: BinaryIO, path: str, meter: ReadCounter) -> None:
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
