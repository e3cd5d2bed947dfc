"""Compressed input as one stream of bytes: all members of the file, each complete, or an error.

The readers of the standard library treat undecodable bytes after a member as padding, so they turn a damaged
multi-stream file into a shorter one without an error. Here, damage is an error that names the file.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import IO, Any, Protocol

import zstandard

from preprocessing.storage.pieces import Bounds, Piece, Pieces, damaged, stream_of, truncated

_CHUNK_BYTES = 1 << 16
XZ_MEMORY_BYTES = 1 << 28  # `xz -9` needs a quarter of it


class _Decoder(Protocol):
    """Decompresses one member, with the interface of the decompressors in `bz2` and `lzma`."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)


class _Zstandard:
    _SLICE_BYTES = 512  # a slice is decoded completely; in the worst case, every four bytes give 128 KiB

    def __init__(self) -> None:
        self._decoder = zstandard.ZstdDecompressor().decompressobj()
        self._pending = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data + bytes(self._pending)

    @property
    def needs_input(self) -> bool:
        return not self._pending

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        pending = self._pending or memoryview(data)
        self._pending = pending[self._SLICE_BYTES :]
        return self._decoder.decompress(pending[: self._SLICE_BYTES])


_SIGNATURES = {b"BZh": ".bz2", b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_SKIPPABLE_ZSTANDARD = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")  # a frame without content, which can come first
_DECODERS: dict[str, Callable[[], _Decoder]] = {
    ".bz2": bz2.BZ2Decompressor,
    ".gz": _Gzip,
    ".xz": partial(lzma.LZMADecompressor, memlimit=XZ_MEMORY_BYTES),
    ".zst": _Zstandard,
}


def is_compressed(path: str) -> bool:
    """Return whether the file's suffix marks it as compressed."""
    return path.lower().endswith(tuple(_DECODERS))


def suffix_of(path: str) -> str:
    """Return the suffix of the compression format of a compressed file."""
    return next(suffix for suffix in _DECODERS if path.lower().endswith(suffix))


def compression_of(start: bytes) -> str:
    """Return the suffix of the compression format of a file that begins with these bytes, or "" for none."""
    if _SKIPPABLE_ZSTANDARD.match(start):
        return ".zst"
    return next((suffix for signature, suffix in _SIGNATURES.items() if start.startswith(signature)), "")


def decompressed(stream: IO[bytes], path: str, suffix: str = "") -> io.BufferedReader[Any]:
    """Return the decompressed content of `stream`. `suffix`, or that of `path`, selects the format.

    Reading raises `UserError` where the content is damaged.
    """
    fix = "fetch it again" if suffix else "fetch it again, or rename it to the suffix of its compression format"
    return stream_of(members(stream, path, suffix or suffix_of(path), fix), stream, path, Bounds())


def members(stream: IO[bytes], path: str, suffix: str, fix: str = "fetch it again", start: int = 0) -> Pieces:
    """Yield the content of all members, in pieces, each with the offset of its member in the file.

    `stream` is at the beginning of a member, whose offset in the file is `start`.
    """
    return iter(_Members(stream, path, suffix, fix, start))


class _Members:
    def __init__(self, stream: IO[bytes], path: str, suffix: str, fix: str, start: int) -> None:
        self._stream = stream
        self._path = path
        self._fix = fix  # for a damaged file
        self._new_decoder = _DECODERS[suffix]
        self._decoder = self._new_decoder()
        self._member = self._position = start

    def __iter__(self) -> Pieces:
        while True:
            piece = self._next()
            if piece is None:
                return
            yield piece

    def _next(self) -> Piece | None:
        """Decompress the next piece, which can be empty. Return None at the end of the last member."""
        at_end = False
        if self._decoder.eof:
            data = self._start_of_next_member()
            if not data:
                return None
            self._member = self._position - len(data)
            self._decoder = self._new_decoder()
        else:
            data = self._read() if self._decoder.needs_input else b""
            at_end = self._decoder.needs_input and not data
        content = self._decompress(data)
        if at_end and not content and not self._decoder.eof:
            raise truncated(self._path)
        return self._member, content

    def _start_of_next_member(self) -> bytes:
        """Return the first bytes of the next member, or b"" at the end of the file. Skips zeros, which are padding."""
        data = self._decoder.unused_data.lstrip(b"\0")
        while not data:
            chunk = self._read()
            if not chunk:
                break
            data = chunk.lstrip(b"\0")
        return data

    def _read(self) -> bytes:
        data = self._stream.read(_CHUNK_BYTES)
        self._position += len(data)
        return data

    def _decompress(self, data: bytes) -> bytes:
        try:
            return self._decoder.decompress(data, 4 * _CHUNK_BYTES)
        except (zlib.error, OSError, lzma.LZMAError, zstandard.ZstdError) as error:
            raise damaged(self._path, str(error), self._fix) from error
