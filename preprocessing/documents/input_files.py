"""Open input files, on local disks and at URLs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from configs.errors import UserError
from preprocessing.documents.compression import decompressed, is_compressed
from preprocessing.storage import open_file

_BUFFER_BYTES = 1 << 20
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
