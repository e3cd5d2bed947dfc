"""Readers: the documents that begin in a span of an input file, whatever its format, one after the other.

A span may begin in the middle of a file. Each reader finds the first document that begins there by itself, so that
the spans of a file together give each of its documents once, wherever the cuts fall. Memory holds one document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree import ElementTree  # it is given one <page> at a time, where no DTD or entity can stand

from configs.errors import UserError
from configs.schema import CorpusConfig, DataConfig
from preprocessing.plan import Span, WorkItem
from preprocessing.progress import Monitor
from preprocessing.sources import Meter, open_source

MAX_DOCUMENT_BYTES = 1 << 28  # more is no document but a file without boundaries, and would fill the memory
_READ_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Block = tuple[int, bytes]  # where a document begins in the (decompressed) file, and its bytes


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands in the input."""

    text: str
    place: str  # where it was found, for messages
    is_wikitext: bool = False
    is_repaired: bool = False  # bytes that are no UTF-8 were replaced
    drop: str = ""  # why it is no document of the corpus, a cause to count; empty: it is one


def read_documents(span: Span, corpus: CorpusConfig, config: DataConfig, meter: Meter) -> Iterator[Document]:
    """The documents that begin in `span`, in order, those to drop included.

    Raises `UserError` for a file that is unreadable, damaged, truncated or not of the corpus's format, and for bytes
    that are no UTF-8 where the recipe refuses them.
    """
    end = sys.maxsize if span.end is None else span.end
    with open_source(span.path, max(0, span.start - 1), meter) as stream:
        for offset, block in _BLOCKS[corpus.format](stream, span.start, end, span.path):
            yield _parse(block, f"{span.path}, byte {offset}", corpus, config)


def read_item(item: WorkItem, config: DataConfig, monitor: Monitor) -> Iterator[Document]:
    """The documents of all spans of a work item; `monitor` counts them, and may stop the reading."""
    for span in item.spans:
        for document in read_documents(span, config.corpora[span.corpus], config, monitor.meter):
            monitor.documents += 1
            monitor.visit()
            yield document


def _text_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[Block]:
    """Blocks of lines between blank lines.

    A block is the span's when the blank line before it begins in the span (the file's first block: when the span does
    at 0). Where a span begins it cannot tell whether the line cut there is blank; lines that begin in it, it can.
    """
    is_ours = start == 0
    lines: list[bytes] = []
    begin = size = 0
    for offset, line in _lines(stream, start, path):
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


def _line_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[Block]:
    """Lines that are not blank."""
    for offset, line in _lines(stream, start, path):
        if offset >= end:
            return
        if not line.isspace():
            yield offset, line


def _page_blocks(stream: BinaryIO, start: int, end: int, path: str) -> Iterator[Block]:
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
        raise UserError("the dump has no </mediawiki> at its end: it is truncated", place=path, mend="fetch it again")


_BLOCKS: dict[str, Callable[[BinaryIO, int, int, str], Iterator[Block]]] = {
    "text": _text_blocks,
    "jsonl": _line_blocks,
    "wikipedia": _page_blocks,
}


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
                raise UserError(cause, place=self._path, mend="fetch it again")
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


def _lines(stream: BinaryIO, start: int, path: str) -> Iterator[Block]:
    """The lines that begin at byte `start` or later, of a stream that stands at the byte before `start` (or at 0)."""
    offset = start
    if start:
        offset += len(_line(stream, path, start)) - 1
    while line := _line(stream, path, offset):
        yield offset, line if offset else line.removeprefix(_BYTE_ORDER_MARK)
        offset += len(line)


def _line(stream: BinaryIO, path: str, offset: int) -> bytes:
    line = stream.readline(MAX_DOCUMENT_BYTES + 1)
    _check_size(len(line), path, offset, "break the text into lines")
    return line


def _check_size(size: int, path: str, offset: int, mend: str) -> None:
    if size > MAX_DOCUMENT_BYTES:
        cause = f"a document of more than {MAX_DOCUMENT_BYTES >> 20} MiB"
        raise UserError(cause, place=f"{path}, byte {offset}", mend=mend)


def _parse(block: bytes, place: str, corpus: CorpusConfig, config: DataConfig) -> Document:
    text, is_repaired = _decode(block, place, config)
    if corpus.format == "text":
        return Document(text, place, is_repaired=is_repaired)
    if corpus.format == "wikipedia":
        text, drop = _text_of_page(text, place)
        return Document(text, place, is_wikitext=True, is_repaired=is_repaired, drop=drop)
    text, drop = _text_of_object(text, corpus.text_field)
    text, is_repaired_again = _without_surrogates(text, place, config)
    return Document(text, place, is_repaired=is_repaired or is_repaired_again, drop=drop)


def _decode(block: bytes, place: str, config: DataConfig) -> tuple[str, bool]:
    """The text, and whether bytes had to be replaced."""
    try:
        return block.decode(), False
    except UnicodeDecodeError as error:
        _refuse_or_replace(f"bytes that are no UTF-8 ({error.reason})", place, config)
        return block.decode(errors="replace"), True


def _without_surrogates(text: str, place: str, config: DataConfig) -> tuple[str, bool]:
    """The text, and whether halves of surrogate pairs had to be replaced, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse_or_replace("half of a surrogate pair, which is no character", place, config)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


def _refuse_or_replace(cause: str, place: str, config: DataConfig) -> None:
    if config.invalid_utf8 == "refuse":
        raise UserError(cause, place=place, mend='mend the file, or set data.invalid_utf8="replace"')


def _text_of_object(line: str, field: str) -> tuple[str, str]:
    """The text in a JSON object, and the cause to drop it."""
    try:
        value = json.loads(line, strict=False)
    except (ValueError, RecursionError):
        return "", "broken_json"
    text = value.get(field) if isinstance(value, dict) else None
    return (text, "") if isinstance(text, str) else ("", "no_text_field")


def _text_of_page(xml: str, place: str) -> tuple[str, str]:
    """The wikitext of a page's last revision, and the cause to drop it."""
    try:
        page = ElementTree.fromstring(xml)  # noqa: S314  # no DTD or entity can stand inside <page>
    except ElementTree.ParseError as error:
        raise UserError(f"not well-formed XML: {error}", place=place, mend="fetch the dump again") from error
    revisions = page.findall("revision")
    text = (revisions[-1].findtext("text") or "") if revisions else ""
    if page.find("redirect") is not None or text[:9].upper() == "#REDIRECT":
        return "", "redirect"
    if page.findtext("ns", "0").strip() != "0":
        return "", "not_an_article"
    if revisions and revisions[-1].findtext("model", "wikitext") != "wikitext":
        return "", "not_wikitext"
    return text, ""
