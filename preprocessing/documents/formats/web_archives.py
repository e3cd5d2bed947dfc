"""Web archives: WARC files of pages as they were fetched, and WET files of their text, as Common Crawl publishes them.

warcio reads the records, and Resiliparse extracts the main text of an HTML page, without menus and footers. Both are in
the extra `web`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from configs.errors import UserError
from configs.machine import install_extra
from configs.schema import CorpusConfig, is_text_encoding
from preprocessing.documents.formats.format import Block
from preprocessing.documents.input_files import ReadCounter, open_source

if TYPE_CHECKING:
    from warcio.recordloader import ArcWarcRecord

_MOST_PAGE_BYTES = 1 << 22  # a larger page is a table or a listing
_MOST_DEPTH = 500  # of nested elements: the extraction takes time in the square of it
_HTML = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"""\bcharset\s*=\s*["']?([^\s"';]+)""", re.I)


def archive_records(path: str, _start: int, _end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
    """Yield the pages of the archive: the text of `conversion` records, and the main text of HTML in the others.

    Raises `UserError` for a file that is damaged, truncated or not a web archive.
    """
    warcio = _warcio()
    with open_source(path, counter, is_text=False) as stream:
        if stream.peek(5)[:5] != b"WARC/":
            raise UserError("this is not a web archive", place=path, fix="correct the corpus's paths or format")
        try:
            for number, record in enumerate(warcio.WARCIterator(stream)):
                place = f"{path}, record {number}"
                if record.rec_type in ("conversion", "response", "resource"):
                    yield place, _text_of_record(record)
                _read_to_end(record, place)
        except (warcio.ArchiveLoadFailed, EOFError, AttributeError) as error:  # the last: a response without its URI
            reason = "a record lacks a header" if isinstance(error, AttributeError) else error
            cause = f"the web archive is damaged or truncated ({reason})"
            raise UserError(cause, place=path, fix="fetch it again") from error


def _text_of_record(record: ArcWarcRecord) -> bytes | str:
    """Return the record's text as UTF-8, or the cause to drop it."""
    headers = record.http_headers or record.rec_headers
    if record.http_headers and record.http_headers.get_statuscode() != "200":
        return "not_a_page"
    content_type = headers.get_header("Content-Type") or ""
    kind = content_type.partition(";")[0].strip().lower()
    is_plain = record.rec_type == "conversion" and kind not in _HTML
    if not (kind.startswith("text/") or not kind if is_plain else kind in _HTML):
        return "not_a_page"
    try:
        content = record.content_stream().read(_MOST_PAGE_BYTES + 1)
    except (OSError, ValueError):  # the server sent a damaged body
        return "broken_page"
    if len(content) > _MOST_PAGE_BYTES:
        return "page_too_large"
    charset = _CHARSET.search(content_type)
    name = charset[1] if charset and is_text_encoding(charset[1]) else ""
    return _plain_text(content, name) if is_plain else _main_text(content, name)


def _plain_text(content: bytes, charset: str) -> bytes | str:
    if charset:
        with suppress(UnicodeError):
            content = content.decode(charset).encode()
    return "broken_page" if b"\0" in content else content


def _main_text(page: bytes, charset: str) -> bytes | str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    html = _decoded(page, charset)
    tree = HTMLTree.parse(html)
    if "\0" in html or tree.body is None or _depth(tree) > _MOST_DEPTH:
        return "broken_page"
    text: str = extract_plain_text(
        tree, main_content=True, preserve_formatting=True, list_bullets=False, alt_texts=False
    )
    return text.encode()


def _decoded(page: bytes, charset: str) -> str:
    """Decode a page: as the server says, as UTF-8 if it is, else by its <meta> or by what its bytes look like.

    Text without tags shows that the server or the <meta> is wrong: any bytes are characters in UTF-16.
    """
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    for encoding in filter(None, (charset, "utf-8")):
        with suppress(UnicodeError):
            text = page.decode(encoding)
            text.encode()  # UTF-7 can decode to half a surrogate pair
            if "<" in text or b"<" not in page:
                return text
    text = str(bytes_to_str(page, detect_encoding(page, from_html_meta=True) or "utf-8"))
    return text if "<" in text else str(bytes_to_str(page, detect_encoding(page) or "utf-8"))


def _depth(tree: Any) -> int:
    from resiliparse.parse.html import traverse_dom

    depths = {0}
    traverse_dom(tree.body, lambda context: depths.add(context.depth), elements_only=True)
    return max(depths)


def _read_to_end(record: ArcWarcRecord, place: str) -> None:
    is_whole = record.length is not None  # the record's header states the length
    while is_whole and record.raw_stream.read(1 << 20):
        pass
    if not is_whole or record.raw_stream.limit > 0:
        raise UserError("the web archive is truncated: it ends inside a record", place=place, fix="fetch it again")


def _warcio() -> Any:
    try:
        import resiliparse  # noqa: F401  # used for each page
        from warcio import archiveiterator
    except ImportError as error:
        fix = install_extra("web")
        raise UserError(f"no library reads web archives ({error})", place="data.corpora", fix=fix) from error
    return archiveiterator
