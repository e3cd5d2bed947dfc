"""Web archives: the main text of HTML pages in their encodings, and the text of WET files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter

pytest.importorskip("warcio")

SENTENCES = "The café on the corner has been open since 1901. It sells bread, cakes and coffee all day long."
PAGE = f"""<html><head><title>Bread</title><style>p {{}}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/about">About us</a></li></ul></nav>
<article><h1>A bakery</h1><p>{SENTENCES}</p><p>People come from far away.</p></article>
<script>var x = "not text";</script><footer>Copyright</footer></body></html>"""
TEXT = f"A bakery\n\n{SENTENCES}\n\nPeople come from far away."


def record(kind: str, content: bytes, content_type: str) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Target-URI: http://a.example/\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


def response(body: bytes, content_type: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{more}\r\n".encode()
    return record("response", head + body, "application/http; msgtype=response")


def read(path: Path) -> list[bytes | str]:
    corpus = CorpusConfig(paths=[str(path)], format="warc")
    return [block for _, block in FORMATS["warc"].blocks(str(path), 0, 1 << 40, corpus, ReadCounter())]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_main_text_of_pages_is_read_in_every_encoding(tmp_path: Path, name: str) -> None:
    marked = PAGE.replace("<head>", '<head><meta charset="windows-1252">')
    records = [
        record("warcinfo", b"software: test", "application/warc-fields"),
        response(PAGE.encode(), "text/html; charset=utf-8"),
        response(PAGE.encode("latin-1"), "text/html; charset=iso-8859-1"),
        response(marked.encode("cp1252")),
        response(gzip.compress(PAGE.encode(), mtime=0), "text/html; charset=utf-8", more="Content-Encoding: gzip\r\n"),
        record("resource", PAGE.encode(), "text/html"),
    ]
    packed = b"".join(map(gzip.compress, records)) if name.endswith(".gz") else b"".join(records)
    (tmp_path / name).write_bytes(packed)
    assert read(tmp_path / name) == [TEXT.encode()] * 5


def test_text_of_wet_files_is_read(tmp_path: Path) -> None:
    texts = ["Erste Seite.\nZwei Zeilen.", "第二页。"]
    records = [record("conversion", text.encode(), "text/plain") for text in texts]
    info = record("warcinfo", b"software: test", "application/warc-fields")
    (tmp_path / "a.wet.gz").write_bytes(gzip.compress(info) + b"".join(map(gzip.compress, records)))
    assert read(tmp_path / "a.wet.gz") == [text.encode() for text in texts]


def test_what_is_no_page_is_dropped_by_cause(tmp_path: Path) -> None:
    records = [
        response(b"\x89PNG", "image/png"),
        response(PAGE.encode(), status="404 Not Found"),
        response(gzip.compress(PAGE.encode(), mtime=0)[:40] + b"\0damage" * 20, more="Content-Encoding: gzip\r\n"),
        response(b"x" * ((1 << 22) + 1)),
        response(gzip.compress(b"x" * (1 << 23), mtime=0), more="Content-Encoding: gzip\r\n"),
        response(b"<div>" * 100_000 + b"deep"),
        response(PAGE.encode("utf-8"), "text/html; charset=no-such-encoding"),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    assert read(tmp_path / "a.warc") == [
        "not_a_page", "not_a_page", "broken_page", "page_too_large", "page_too_large", "broken_page",
        TEXT.encode(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "charset",
    [
        "unicode_escape", "raw_unicode_escape", "punycode", "idna", "undefined", "charmap", "rot13", "hex", "zlib",
        "bz2", "no-such-encoding", "utf-16", "utf-32", "a\0b", "\xe9", "x" * 2_000, "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_page_with_a_wrong_charset_is_read_by_what_its_bytes_are(tmp_path: Path, charset: str, encoding: str) -> None:
    """Codecs of Python that are not text encodings decode any bytes, or fail in their own ways."""
    page = PAGE.replace("People", r"\u0050eople \\ xn--caf-dma")
    (tmp_path / "a.warc").write_bytes(response(page.encode(encoding), f"text/html; charset={charset}"))
    (text,) = read(tmp_path / "a.warc")
    assert text == TEXT.replace("People", r"\u0050eople \\ xn--caf-dma").encode()


def test_a_page_that_names_half_characters_is_read_by_what_its_bytes_are(tmp_path: Path) -> None:
    page = PAGE.replace("People", "+2AA- people")
    (tmp_path / "a.warc").write_bytes(
        response(page.encode("cp1252").replace(b"\xe9", b"e"), "text/html; charset=utf-7")
    )
    assert read(tmp_path / "a.warc") == [TEXT.replace("People", "+2AA- people").replace("é", "e").encode()]


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-16", "utf-7", "hex", "no-such"])
def test_a_page_with_a_wrong_meta_is_read_by_what_its_bytes_are(tmp_path: Path, charset: str) -> None:
    page = PAGE.replace("<head>", f'<head><meta charset="{charset}">')
    (tmp_path / "a.warc").write_bytes(response(page.encode("cp1252")))
    assert read(tmp_path / "a.warc") == [TEXT.encode()]


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html; Charset=ISO-8859-2", "text/html; charset = 'iso-8859-2' ; boundary=x",
        'text/html;CHARSET="iso-8859-2"; version=1',
    ],
)  # fmt: skip
def test_a_charset_is_found_however_it_is_written(tmp_path: Path, content_type: str) -> None:
    page = PAGE.replace("café", "Łódź")
    (tmp_path / "a.warc").write_bytes(response(page.encode("iso-8859-2"), content_type))
    assert read(tmp_path / "a.warc") == [TEXT.replace("café", "Łódź").encode()]


def test_conversions_that_are_no_text_are_dropped_by_cause(tmp_path: Path) -> None:
    records = [
        record("conversion", b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        record("conversion", b"%PDF-1.7 \xff", "application/pdf"),
        record("conversion", b"\x89PNG\r\n\x1a\n\0\0\0\r", "text/plain"),
        record("conversion", PAGE.encode(), "text/html"),
        record("conversion", "Ein Café.".encode("latin-1"), "text/plain; charset=iso-8859-1"),
        record("conversion", "Ein Café.".encode(), "text/plain; charset=unicode_escape"),
        record("conversion", b"A text.", "text/markdown"),
    ]
    (tmp_path / "a.warc").write_bytes(b"".join(records))
    assert read(tmp_path / "a.warc") == [
        "not_a_page", "not_a_page", "broken_page", TEXT.encode(), "Ein Café.".encode(), "Ein Café.".encode(),
        b"A text.",
    ]  # fmt: skip


@pytest.mark.parametrize("end", [40, 300, -200, -5])
def test_truncated_archives_are_refused(tmp_path: Path, end: int) -> None:
    content = response(PAGE.encode())
    (tmp_path / "a.warc").write_bytes((content + content)[:end])
    with pytest.raises(UserError, match="truncated") as raised:
        read(tmp_path / "a.warc")
    assert raised.value.place.startswith(str(tmp_path / "a.warc"))


@pytest.mark.parametrize("content", [b"plain text", b"WARC/1.0\r\nnothing\r\n\r\nplain"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.warc").write_bytes(content)
    with pytest.raises(UserError, match=r"not a web archive|truncated"):
        read(tmp_path / "a.warc")
