"""Open input files, on local disks and at URLs."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from typing import IO, Any

from configs.errors import UserError
from preprocessing.documents.encodings import guess_encoding, transcoded
from preprocessing.documents.signatures import START_BYTES, refuse_foreign
from preprocessing.storage import decompressed, is_compressed, open_file

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
    path: str, start: int, meter: ReadCounter, encoding: str = "utf-8", *, is_text: bool = True
) -> io.BufferedReader[Any]:
    """Open an input file and return its content, decompressed and as UTF-8, from byte `start` on.

    `start` is 0 when the file is compressed or in another encoding. `meter` counts the bytes read from the file as
    stored. Raises `UserError`, also during later reads. `is_text`: refuse what is known not to be text.
    """
    metered = open_stored(path, meter)
    metered.seek(start) if start else None
    stream: io.BufferedReader[Any] = decompressed(metered, path) if is_compressed(path) else metered
    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    if start == 0 and is_text:
        refuse_foreign(stream.peek(START_BYTES)[:START_BYTES], path, is_utf8=is_utf8)
    return stream if is_utf8 else transcoded(stream, encoding, path)


def guess_file_encoding(path: str) -> str | None:
    """Return the encoding that an input file is probably in, or None when no encoding makes sense of its start."""
    with open_source(path, 0, ReadCounter(), is_text=False) as stream:
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
