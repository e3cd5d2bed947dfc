"""bzip2 from the middle of a file: each block (900 kB of content at most) is decompressed without those before it.

A mark tells where a block begins. The same bits can stand inside a block by chance, so a mark counts only if the block
behind it has the checksum that it states.
"""

from __future__ import annotations

import bz2
import re
from typing import IO

from preprocessing.storage.bzip2_marks import BLOCK, END, MARK_BITS, marks_in
from preprocessing.storage.pieces import Pieces, damaged, truncated

BLOCK_BYTES = 910_000  # of the largest block, as stored: it holds 900,000 bytes that did not get shorter

_CHECKSUM_BITS = 32
_HEADER = re.compile(rb"BZh[1-9]")
_HEADER_BITS = 32
_MOST_BLOCK_BITS = 1 << 25  # as stored, with the longest codes
_MOST_ENDS = 8  # marks to try as the end of a block: more than one are rarer than damage
_READ_BYTES = 1 << 18

_Block = tuple[int, bytes, int]  # the bits where it begins and ends in the file, around its content


def blocks_from(stream: IO[bytes], path: str, start: int) -> Pieces:
    """Yield the content of each block that begins at byte `start` of the file or later, with the byte it begins in.

    Raises `UserError` for a damaged block, and for a file that does not end with the end of a bzip2 stream.
    """
    return _Blocks(stream, path, start).read()


class _Blocks:
    def __init__(self, stream: IO[bytes], path: str, start: int) -> None:
        stream.seek(start)
        self._stream = stream
        self._path = path
        self._start = self._base = start  # byte offset of the window in the file
        self._window = bytearray()
        self._marks: list[int] = []  # bit offsets in the file, ascending
        self._searched = start  # up to this byte of the file
        self._checksum: int | None = None  # of the stream so far; None: its beginning is unknown

    def read(self) -> Pieces:
        block = self._find_block() if self._start else self._block_of_stream(0)
        while block is not None:
            begin, content, end = block
            yield begin // 8, content
            self._forget(end)
            block = self._block_at(end)

    def _find_block(self) -> _Block | None:
        """Return the first block that begins in the window or after it; None: there is none."""
        at = 8 * self._start - 1
        while True:
            mark = self._next_mark(at)
            if mark is None:
                self._forget(8 * self._searched)
                if not self._more():
                    return None
                continue
            block = self._try_block(mark) if self._bits(mark, MARK_BITS) == BLOCK else None
            if block is not None:
                return block
            self._forget(mark)
            at = mark

    def _block_at(self, at: int) -> _Block | None:
        """Return the block at this bit, or the first block of the stream after it; None: no stream follows."""
        if self._bits(at, MARK_BITS) == END:
            stated = self._bits(at + MARK_BITS, _CHECKSUM_BITS)
            if self._checksum not in (None, stated):
                raise damaged(self._path, "a stream does not have the checksum that it states")
            return self._block_of_stream((at + MARK_BITS + _CHECKSUM_BITS + 7) // 8)
        block = self._try_block(at)
        if block is None and self._next_mark(at) is None and not self._more():
            raise truncated(self._path)
        if block is None:
            raise damaged(self._path, f"the bzip2 block in byte {at // 8}")
        if self._checksum is not None:
            own = self._bits(at + MARK_BITS, _CHECKSUM_BITS)
            self._checksum = (self._checksum << 1 | self._checksum >> 31) & 0xFFFFFFFF ^ own
        return block

    def _block_of_stream(self, start: int) -> _Block | None:
        """Return the first block of the stream that begins at this byte; None: the file ends. Zeros are padding."""
        self._forget(8 * start)
        while start and not self._window.strip(b"\0"):
            self._forget(8 * (self._base + len(self._window)))
            if not self._more():
                return None
        start = self._base + len(self._window) - len(self._window.lstrip(b"\0") if start else self._window)
        self._load(start + _HEADER_BITS // 8)
        if not _HEADER.match(self._window, start - self._base):
            raise damaged(self._path, f"no bzip2 stream begins at byte {start}")
        self._checksum = 0
        return self._block_at(8 * start + _HEADER_BITS)

    def _try_block(self, begin: int) -> _Block | None:
        """Return the block at this bit, or None if there is none with a valid checksum."""
        end = self._mark_after(begin, begin + _MOST_BLOCK_BITS)
        for _ in range(_MOST_ENDS):
            content = self._decode(begin, end) if end is not None else None
            if end is None or content is not None:
                break
            end = self._mark_after(end, begin + _MOST_BLOCK_BITS)
        return (begin, content, end) if end is not None and content is not None else None

    def _mark_after(self, bit: int, most: int) -> int | None:
        """Return the first mark after this bit, looking no further than bit `most`."""
        while (found := self._next_mark(bit)) is None and 8 * self._searched < most:
            if not self._more():
                return None
        return found

    def _decode(self, begin: int, end: int) -> bytes | None:
        """Return the content of the block in these bits, as the only block of a stream; None: it is no block."""
        size = end - begin
        header = MARK_BITS + _CHECKSUM_BITS
        if size <= header:
            return None
        bits = self._bits(begin, size)
        checksum = bits >> size - header & 0xFFFFFFFF
        bits = bits << header | END << _CHECKSUM_BITS | checksum
        padding = -(size + header) % 8
        decoder = bz2.BZ2Decompressor()
        try:
            content = decoder.decompress(b"BZh9" + (bits << padding).to_bytes((size + header + padding) // 8))
        except (OSError, ValueError):
            return None
        return content if decoder.eof else None

    def _next_mark(self, after: int) -> int | None:
        return next((mark for mark in self._marks if mark > after), None)

    def _bits(self, begin: int, size: int) -> int:
        """Return the bits of the file as a number. Raises `UserError` if the file ends before them."""
        first, last = begin // 8, (begin + size + 7) // 8
        self._load(last)
        content = self._window[first - self._base : last - self._base]
        return int.from_bytes(content) >> 8 * last - begin - size & (1 << size) - 1

    def _load(self, end: int) -> None:
        while self._base + len(self._window) < end:
            if not self._more():
                raise truncated(self._path)

    def _more(self) -> bool:
        """Read on, and find the marks in what was read. Return False at the end of the file."""
        more = self._stream.read(_READ_BYTES)
        self._window += more
        searched = self._base + len(self._window) - MARK_BITS // 8
        if searched > self._searched:
            found = marks_in(self._window, self._searched - self._base, searched - self._base)
            self._marks += [8 * self._base + bit for bit in found]
            self._searched = searched
        return bool(more)

    def _forget(self, bit: int) -> None:
        """Drop the window's bytes before this bit of the file, and its marks."""
        drop = min(bit // 8, self._base + len(self._window)) - self._base
        if drop > 0:
            del self._window[:drop]
            self._base += drop
            self._searched = max(self._searched, self._base)
            self._marks = [mark for mark in self._marks if mark >= bit]
