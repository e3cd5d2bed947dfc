"""Decompressed content in pieces, and the stream that they make together.

A unit is a part of a compressed file that is decompressed without the parts before it: a block or a member. A section
of a file consists of the units that begin between two offsets in the file as stored.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import IO, Any

from configs.errors import UserError

_MOST_EXPANSION = 200  # decompressed bytes per stored byte: about 3 to 20 for text, 1,000 or more for a bomb
_EXPANSION_COUNTS_FROM_BYTES = 1 << 26

Piece = tuple[int, bytes]  # the offset at which its unit begins in the file as stored, and a part of the unit's content
Pieces = Iterator[Piece]


class Bounds:
    """Where the content of a section ends, in the stream of the section and of what follows it."""

    def __init__(self, end: int = sys.maxsize, *, is_exact: bool = False) -> None:
        self.content_end = sys.maxsize  # in bytes of content; it is known before the bytes after it are delivered
        self._end = end  # offset in the file as stored
        self._is_exact = is_exact  # whether a unit must begin there
        self._last_unit = -1

    def enter(self, unit: int, delivered: int, path: str) -> None:
        """Note that the unit at this offset follows the `delivered` bytes of content.

        Raises `UserError` if no unit begins where the section ends: then the next section begins inside a unit.
        """
        if self._last_unit < self._end <= unit:
            if self._is_exact and unit != self._end:
                raise _wrong_cut(path, self._end)
            self.content_end = delivered
        self._last_unit = unit

    def leave(self, size: int, path: str) -> None:
        """Note that a file of `size` bytes has no more units."""
        if self._is_exact and self._last_unit < self._end < size:
            raise _wrong_cut(path, self._end)


def stream_of(pieces: Pieces, stored: IO[bytes], path: str, bounds: Bounds) -> io.BufferedReader[Any]:
    """Return the pieces as a stream, which closes `stored`. Reading raises `UserError` for a decompression bomb."""
    return io.BufferedReader(_Content(pieces, stored, path, bounds), buffer_size=1 << 20)


def damaged(path: str, cause: str, fix: str = "fetch it again") -> UserError:
    """Return the error for a file whose content cannot be decompressed."""
    return UserError(f"the compressed file is damaged ({cause})", place=path, fix=fix)


def truncated(path: str) -> UserError:
    """Return the error for a file that ends too early."""
    return UserError("the file is truncated", place=path, fix="fetch it again")


def _wrong_cut(path: str, offset: int) -> UserError:
    cause = f"byte {offset} looks like the beginning of a part of the compressed file, but is none"
    return UserError(cause, place=path, fix="decompress the file, and name the result in data.corpora paths")


class _Content(io.RawIOBase):
    def __init__(self, pieces: Pieces, stored: IO[bytes], path: str, bounds: Bounds) -> None:
        self._pieces = pieces
        self._stored = stored
        self._path = path
        self._bounds = bounds
        self._first = stored.tell()
        self._unit = -1
        self._ready = memoryview(b"")
        self._size = 0  # of the content so far

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io hands over a memoryview
        while not self._ready:
            if not self._advance():
                return 0
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._stored.close()
        super().close()

    def _advance(self) -> bool:
        """Take the next piece, which can be empty. Return False at the end of the last one."""
        piece = next(self._pieces, None)
        if piece is None:
            self._bounds.leave(self._stored.tell(), self._path)
            return False
        unit, content = piece
        if unit != self._unit:
            self._bounds.enter(unit, self._size, self._path)
            self._unit = unit
        self._size += len(content)
        self._ready = memoryview(content)
        self._refuse_bomb()
        return True

    def _refuse_bomb(self) -> None:
        if self._size > _EXPANSION_COUNTS_FROM_BYTES + _MOST_EXPANSION * (self._stored.tell() - self._first):
            cause = f"the file expands to more than {_MOST_EXPANSION} times its size, which text does not"
            raise UserError(cause, place=self._path, fix="remove the file, or decompress it if it is valid input")
