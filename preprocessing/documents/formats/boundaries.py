"""Readers that find where documents begin and end in a stream of bytes, one for each format.

A section can begin in the middle of a file. Each reader finds the first document that begins in its section. So the
sections of a file together yield each document exactly once, wherever the cuts are. Memory holds one document.

Readers of MediaWiki dumps such as mwxml parse a stream from its beginning. They cannot begin in the middle of a dump,
so that one worker would read all of it.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO

from configs.errors import UserError
from preprocessing.storage import Section

MAX_DOCUMENT_BYTES = 1 << 26  # a longer document indicates a file without boundaries, and would fill the memory
_READ_BYTES = 1 << 20
_SHORTER_LINES = "break the text into lines"

RawDocument = tuple[int, bytes]  # the document's offset in the (decompressed) file, and its bytes


def text_blocks(section: Section, path: str) -> Iterator[RawDocument]:
    """Yield the blocks of lines between blank lines.

    A block belongs to the section in which the blank line before it begins; the first block of the file belongs to the
    section that begins at 0. A section cannot tell whether the line that its start cuts is blank, so it decides by the
    lines that begin inside it.
    """
    is_ours = section.start == 0
    block = bytearray()  # a list would take twenty times the memory where lines are short
    begin = 0
    for offset, line in _without_lone_returns(_lines(section.stream, section.start, path)):
        if _is_blank(line):
            if block:
                yield begin, bytes(block)
                block.clear()
            if offset >= section.end:
                return
            is_ours = True
        elif is_ours:
            begin = begin if block else offset
            block += line
            _check_size(len(block), path, begin, "put a blank line between documents")
        elif offset >= section.end:
            return
    if block:
        yield begin, bytes(block)


def line_blocks(section: Section, path: str, fix: str = _SHORTER_LINES) -> Iterator[RawDocument]:
    """Yield the lines that are not blank. `fix` says what to do about a line that is too long."""
    for offset, line in _lines(section.stream, section.start, path, fix):
        if offset >= section.end:
            return
        if not _is_blank(line):
            yield offset, line


def file_blocks(section: Section, path: str) -> Iterator[RawDocument]:
    """Yield the complete file."""
    content = bytearray()
    while more := section.stream.read(_READ_BYTES):
        content += more
        _check_size(len(content), path, 0, 'if blank lines separate several documents, set format = "text"')
    yield 0, bytes(content)


def page_blocks(section: Section, path: str) -> Iterator[RawDocument]:
    """Yield the <page> elements of a MediaWiki dump as bytes. Each is a separate XML document."""
    section.stream.read(min(section.start, 1))
    window = _Window(section.stream, path, section.start)
    is_looking_for_end = section.start == 0
    while window.skip_to(b"<page>"):
        begin = window.offset
        if begin >= section.end:
            return
        yield begin, window.take_through(b"</page>")
        is_looking_for_end = True
    # A section without a page can begin inside the end tag, so the one that holds the last page looks for it.
    if is_looking_for_end and b"</mediawiki>" not in window.data:
        raise UserError("the dump is truncated: it has no </mediawiki> at its end", place=path, fix="fetch it again")


def doc_blocks(section: Section, path: str) -> Iterator[tuple[int, bytes | str]]:
    """Yield the <doc> elements that WikiExtractor writes. They are not XML: a title can hold anything.

    Text between two elements is the cause to drop a document, which belongs to the section of the element before it.
    Raises `UserError` for a file that holds text, but no element.
    """
    section.stream.read(min(section.start, 1))
    window = _Window(section.stream, path, section.start)
    is_ours = is_first = section.start == 0
    while True:
        is_found = window.skip_to(b"<doc id=")
        if is_ours and window.has_skipped_text:
            _refuse_no_element(path) if is_first and not is_found else None
            yield window.offset, "outside_of_articles"
        if not is_found or window.offset >= section.end:
            return
        is_ours, is_first = True, False
        yield window.offset, window.take_through(b"\n</doc>")


def _refuse_no_element(path: str) -> None:
    fix = "correct the corpus's format, or remove the file from data.corpora paths"
    raise UserError("the file holds no <doc id=...> element, as WikiExtractor writes them", place=path, fix=fix)


class _Window:
    """A buffered section of a stream, extended until it contains the tag that is searched for."""

    def __init__(self, stream: BinaryIO, path: str, offset: int) -> None:
        self.data = bytearray()
        self.offset = offset  # of its first byte in the file
        self.has_skipped_text = False  # whether `skip_to` discarded anything but white space
        self._stream = stream
        self._path = path

    def skip_to(self, tag: bytes) -> bool:
        """Discard everything before the next `tag`. Return False when no more `tag` follows."""
        self.has_skipped_text = False
        while (found := self.data.find(tag)) < 0:
            self._skip(max(0, len(self.data) - 1024))  # keep what can contain part of a tag or the end of the dump
            if not self._read():
                self.has_skipped_text |= _is_text(self.data)
                return False
        self._skip(found)
        return True

    def take_through(self, tag: bytes) -> bytes:
        """Return everything up to and including the next `tag`."""
        searched = 0
        while (found := self.data.find(tag, searched)) < 0:
            _check_size(len(self.data), self._path, self.offset, "check that the file is a MediaWiki dump")
            searched = max(0, len(self.data) - len(tag))
            if not self._read():
                cause = "the dump is truncated: it ends inside a page"
                raise UserError(cause, place=self._path, fix="fetch it again")
        taken = bytes(self.data[: found + len(tag)])
        self._forget(len(taken))
        return taken

    def _skip(self, size: int) -> None:
        self.has_skipped_text |= _is_text(self.data[:size])
        self._forget(size)

    def _forget(self, size: int) -> None:
        del self.data[:size]
        self.offset += size

    def _read(self) -> bool:
        more = self._stream.read(_READ_BYTES)
        self.data += more
        return bool(more)


def _is_text(content: bytearray) -> bool:
    return bool(content) and not content.isspace() and bool(content.removeprefix(BOM_UTF8).strip())


def _lines(stream: BinaryIO, start: int, path: str, fix: str = _SHORTER_LINES) -> Iterator[RawDocument]:
    """Yield the lines that begin at byte `start` or later. The stream is at the byte before `start`, or at 0."""
    offset = start
    if start:
        offset += len(_line(stream, path, start, fix)) - 1
    while line := _line(stream, path, offset, fix):
        yield offset, line.removeprefix(BOM_UTF8)  # at the start of a file, or where files were concatenated
        offset += len(line)


def _is_blank(line: bytes) -> bool:
    """Return whether a line holds nothing but white space, which can be Unicode's, as in Google's script."""
    if b" " < line[:1] < b"\x7f":
        return False
    return line.isspace() or not line.decode(errors="replace").strip()


def _without_lone_returns(lines: Iterator[RawDocument]) -> Iterator[RawDocument]:
    """Split lines at the carriage returns inside them, which old systems used as line ends.

    All parts keep the offset of their line, because sections treat them as one line.
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


def _line(stream: BinaryIO, path: str, offset: int, fix: str) -> bytes:
    line = stream.readline(MAX_DOCUMENT_BYTES + 1)
    _check_size(len(line), path, offset, fix)
    return line


def _check_size(size: int, path: str, offset: int, fix: str) -> None:
    if size > MAX_DOCUMENT_BYTES:
        cause = f"a document is larger than {MAX_DOCUMENT_BYTES >> 20} MiB"
        raise UserError(cause, place=f"{path}, byte {offset}", fix=fix)
