"""Open input files, on local disks and at URLs."""

from __future__ import annotations

import codecs
import io
import sys
from dataclasses import dataclass
from typing import IO, Any

from configs.errors import UserError
from preprocessing.documents.encodings import guess_encoding, transcoded
from preprocessing.documents.signatures import START_BYTES, refuse_foreign
from preprocessing.storage import Section, compressed_section, decompressed, is_compressed, open_file, plain_section

_BUFFER_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 18


@dataclass(frozen=True)
class SourceFile:
    """An input file and its size in bytes, as stored."""

    path: str
    size: int


@dataclass
class ReadCounter:
    """Counts the bytes read from the input files."""

    bytes: int = 0


def open_source(
    path: str, meter: ReadCounter, encoding: str = "utf-8", *, is_text: bool = True
) -> io.BufferedReader[Any]:
    """Open an input file and return its content, decompressed and as UTF-8.

    `meter` counts the bytes read from the file as stored. Raises `UserError`, also during later reads. `is_text`:
    refuse what is known not to be text.
    """
    stored = open_stored(path, meter)
    stream: io.BufferedReader[Any] = decompressed(stored, path) if is_compressed(path) else stored
    return _as_utf8(stream, path, encoding, is_text=is_text)


def open_section(path: str, start: int, end: int, meter: ReadCounter, encoding: str) -> Section:
    """Open the section [start, end) of an input file. Otherwise like `open_source`.

    `start` is 0 and `end` is `sys.maxsize` where the file cannot be split.
    """
    if is_compressed(path) and (start, end) != (0, sys.maxsize):
        section = compressed_section(open_stored(path, meter), path, start, end)
        if start == 0:
            _as_utf8(section.stream, path, encoding)
        return section
    if start == 0:
        return plain_section(open_source(path, meter, encoding), start, end)
    stored = open_stored(path, meter)
    stored.seek(start - 1)
    return plain_section(stored, start, end)


def _as_utf8(
    stream: io.BufferedReader[Any], path: str, encoding: str, *, is_text: bool = True
) -> io.BufferedReader[Any]:
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    if is_text:
        refuse_foreign(stream.peek(START_BYTES)[:START_BYTES], path, is_utf8=is_utf8)
    return stream if is_utf8 else transcoded(stream, encoding, path)


def guess_file_encoding(path: str) -> str | None:
    """Return the encoding that an input file is probably in, or None when no encoding makes sense of its start."""
    with open_source(path, ReadCounter(), is_text=False) as stream:
        return guess_encoding(stream.read(_SAMPLE_BYTES))


def open_stored(path: str, meter: ReadCounter) -> io.BufferedReader[Any]:
    """Open an input file as stored, without decompression, for reading and seeking. Otherwise like `open_source`."""
    try:
        stored = open_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    return io.BufferedReader(_Metered(stored, path, meter), _BUFFER_BYTES)


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"cannot read: {error.strerror or error}", place=path, fix="check the path and its permissions")


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
