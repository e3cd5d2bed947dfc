"""Where documents begin and end in a stream of bytes, for each format.

A span may begin in the middle of a file. Each reader finds the first document that begins there by itself, so that
the spans of a file together give each of its documents once, wherever the cuts fall. Memory holds one document.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO

from configs.errors import UserError

MAX_DOCUMENT_BYTES = 1 << 26  # more is no document but a file without boundaries, and would fill the memory
_READ_BYTES = 1 << 20

RawDocument = tuple[int, bytes]  # where a document begins in the (decompressed) file, and its bytes


def text_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[RawDocument]:
    """Blocks of lines between blank lines.

    A block is the span's when the blank line before it begins in the span (the file's first block: when the span does
    at 0). Where a span begins it cannot tell whether the line cut there is blank; lines that begin in it, it can.
    """
    is_ours = start == 0
    lines: list[bytes] = []
    begin = size = 0
    for offset, line in _without_lone_returns(_lines(stream, start, path)):
        if line.isspace():
            if lines:
                yield begin, b"".join(lines)
                lines, size = [], 0
            if offset >= end:
                return
            is_ours = True
        elif is_ours:
            begin = begin if lines else offset
            lines.append(line)
            size += len(line)
            _check_size(size, path, begin, "put a blank line between documents")
        elif offset >= end:
            return
    if lines:
        yield begin, b"".join(lines)


def line_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[RawDocument]:
    """Lines that are not blank."""
    for offset, line in _lines(stream, start, path):
        if offset >= end:
            return
        if not line.isspace():
            yield offset, line


def file_blocks(stream: BinaryIO, _start: int, _end: int, path: str) -> Iterator[RawDocument]:
    """All of a file."""
    content = bytearray()
    while more := stream.read(_READ_BYTES):
        content += more
        _check_size(len(content), path, 0, "is it one document? If blank lines part several, the format is text")
    yield 0, bytes(content)


def page_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[RawDocument]:
    """The <page> elements of a MediaWiki dump, cut out as bytes: each is an XML document of its own."""
    stream.read(min(start, 1))
    window = _Window(stream, path, start)
    is_looking_for_end = start == 0
    while window.skip_to(b"<page>"):
        begin = window.offset
        if begin >= end:
            return
        yield begin, window.take_through(b"</page>")
        is_looking_for_end = True
    # A span without a page may have begun within the end tag; the one that holds the last page looks for it.
    if is_looking_for_end and b"</mediawiki>" not in window.data:
        raise UserError("the dump has no </mediawiki> at its end: it is truncated", place=path, fix="fetch it again")


def doc_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[RawDocument]:
    """The <doc> elements that WikiExtractor writes. What is in them is no XML: nothing is escaped."""
    stream.read(min(start, 1))
    window = _Window(stream, path, start)
    while window.skip_to(b"<doc id="):
        begin = window.offset
        if begin >= end:
            return
        yield begin, window.take_through(b"\n</doc>")


class _Window:
    """A stretch of a stream, read on as far as it takes to find a tag."""

    def __init__(self, stream: BinaryIO, path: str, offset: int) -> None:
        self.data = bytearray()
        self.offset = offset  # of its first byte in the file
        self._stream = stream
        self._path = path

    def skip_to(self, tag: bytes) -> bool:
        """Leave behind what stands before the next `tag`; False when there is none up to the file's end."""
        while (found := self.data.find(tag)) < 0:
            self._forget(max(0, len(self.data) - 1024))  # a cut tag, or the end of the dump, may be in there
            if not self._read():
                return False
        self._forget(found)
        return True

    def take_through(self, tag: bytes) -> bytes:
        """Everything up to and with the next `tag`."""
        searched = 0
        while (found := self.data.find(tag, searched)) < 0:
            _check_size(len(self.data), self._path, self.offset, "is this a MediaWiki dump?")
            searched = max(0, len(self.data) - len(tag))
            if not self._read():
                cause = "the dump ends within a page: it is truncated"
                raise UserError(cause, place=self._path, fix="fetch it again")
        taken = bytes(self.data[: found + len(tag)])
        self._forget(len(taken))
        return taken

    def _forget(self, size: int) -> None:
        del self.data[:size]
        self.offset += size

    def _read(self) -> bool:
        more = self._stream.read(_READ_BYTES)
        self.data += more
        return bool(more)


def _lines(stream: BinaryIO, start: int, path: str) -> Iterator[RawDocument]:
    """The lines that begin at byte `start` or later, of a stream that stands at the byte before `start` (or at 0)."""
    offset = start
    if start:
        offset += len(_line(stream, path, start)) - 1
    while line := _line(stream, path, offset):
        yield offset, line.removeprefix(BOM_UTF8)  # of a file, or of one of several that were joined
        offset += len(line)


def _without_lone_returns(lines: Iterator[RawDocument]) -> Iterator[RawDocument]:
    """The lines, those with carriage returns in their midst parted there: so did old systems end a line.

    What a line is parted into keeps its offset: to spans it is one line.
    """
    for offset, line in lines:
        if line.find(b"\r", 0, -2) < 0:
            yield offset, line
            continue
        content = line.rstrip(b"\r\n")
        begin = 0
        while (found := content.find(b"\r", begin)) >= 0:
            yield offset, content[begin:found] + b"\n"
            begin = found + 1
        yield offset, content[begin:] + b"\n"


def _line(stream: BinaryIO, path: str, offset: int) -> bytes:
    line = stream.readline(MAX_DOCUMENT_BYTES + 1)
    _check_size(len(line), path, offset, "break the text into lines")
    return line


def _check_size(size: int, path: str, offset: int, fix: str) -> None:
    if size > MAX_DOCUMENT_BYTES:
        cause = f"a document of more than {MAX_DOCUMENT_BYTES >> 20} MiB"
        raise UserError(cause, place=f"{path}, byte {offset}", fix=fix)
