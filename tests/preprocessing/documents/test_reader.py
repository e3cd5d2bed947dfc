"""Each document is read once for all cuts, in every format; every kind of invalid input is handled."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import CorpusConfig, DataConfig
from preprocessing.corpus.cleaning import clean
from preprocessing.documents import reader
from preprocessing.documents.formats import boundaries
from preprocessing.documents.input_files import ReadCounter
from preprocessing.documents.reader import Document, read_documents
from preprocessing.documents.spans import FileSpan
from tests.preprocessing.corpora import wikipedia_xml

REPLACED = ("invalid_utf8_replaced",)


def read(path: Path, kind: str = "text", cuts: tuple[int, ...] = (), **config: Any) -> list[Document]:
    """Return the documents of a file that is cut into spans at these bytes."""
    corpus = CorpusConfig.model_validate({"paths": [str(path)], "format": kind})
    size = path.stat().st_size
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < size}), size]
    is_whole = path.suffix in (".gz", ".bz2")
    spans = [FileSpan(0, str(path), start, None if is_whole else end, size, size) for start, end in pairwise(bounds)]
    recipe = DataConfig.model_validate(config)
    return [document for span in spans for document in read_documents(span, corpus, recipe, ReadCounter())]


def texts(path: Path, kind: str = "text", cuts: tuple[int, ...] = (), **config: Any) -> list[str]:
    return [document.text for document in read(path, kind, cuts, **config)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_file(content: str | bytes, name: str = "a.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def test_blank_lines_separate_documents(write: Callable[..., Path]) -> None:
    path = write("one\nstill one\n\n \t\n\ntwo\n\nthree")
    assert texts(path) == ["one\nstill one\n", "two\n", "three"]
    assert [document.place for document in read(path)] == [f"{path}, byte {offset}" for offset in (0, 19, 24)]


@pytest.mark.parametrize("content", ["", "\n", "\n \n\r\n\n"])
def test_text_without_documents(write: Callable[..., Path], content: str) -> None:
    assert texts(write(content)) == []


def test_windows_line_ends_and_byte_order_mark(write: Callable[..., Path]) -> None:
    assert texts(write(b"\xef\xbb\xbfone\r\n\r\ntwo\r\n")) == ["one\r\n", "two\r\n"]


LINES = st.sampled_from(["a", "bb b", "", " ", "\t", "\r", "c" * 30, "é", "\0"])


@given(st.lists(LINES, max_size=25), st.lists(st.integers(0, 200), max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_text_documents_are_read_once_for_all_cuts(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], cuts: list[int], line_end: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.txt"
    path.write_bytes(line_end.join(lines).encode())
    whole = read(path)
    assert read(path, cuts=tuple(cuts)) == whole
    assert "".join(document.text for document in whole).split() == " ".join(lines).split()


@given(st.lists(st.sampled_from(["x", "", "yy\\n", "ü"]), max_size=12), st.lists(st.integers(0, 150), max_size=4))
def test_json_documents_are_read_once_for_all_cuts(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    path.write_text("".join(f'{{"text": "{value}"}}\n' for value in values), encoding="utf-8")
    assert texts(path, "jsonl", tuple(cuts)) == [json.loads(f'"{value}"') for value in values]


@given(st.lists(st.sampled_from(["short", "long " * 40, "", "a < b & c"]), max_size=6), st.data())
def test_dump_pages_are_read_once_for_all_cuts(
    tmp_path_factory: pytest.TempPathFactory, pages: list[str], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.xml"
    path.write_text(wikipedia_xml([("T", text) for text in pages]), encoding="utf-8")
    cuts = data.draw(st.lists(st.integers(0, path.stat().st_size), max_size=4))
    assert texts(path, "wikipedia", tuple(cuts)) == pages


def test_page_and_tag_are_found_across_reads(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundaries, "_READ_BYTES", 3)
    path = write(wikipedia_xml([("A", "first"), ("B", "second")]))
    assert texts(path, "wikipedia") == ["first", "second"]


def test_json_lines_are_documents_or_drops(write: Callable[..., Path]) -> None:
    path = write(
        '{"text": "one"}\n'
        "\n"
        '{"text": "two\\nlines", "other": 1}\r\n'
        '{"title": "no text"}\n'
        '{"text": 7}\n'
        '["text"]\n'
        '{"text": "cut off\n'
        + "[" * 5_000 + "\n"
        '{"text": "last"}'
    )  # fmt: skip
    found = [(document.text, document.drop) for document in read(path, "jsonl")]
    assert found == [
        ("one", ""),
        ("two\nlines", ""),
        *[("", "no_text_field")] * 3,
        *[("", "broken_json")] * 2,
        ("last", ""),
    ]


def test_text_field_selects_the_json_field(write: Callable[..., Path]) -> None:
    path = write('{"body": "found"}\n')
    corpus = CorpusConfig(paths=[str(path)], format="jsonl", text_field="body")
    span = FileSpan(0, str(path), 0, None, 0, 0)
    assert [document.text for document in read_documents(span, corpus, DataConfig(), ReadCounter())] == ["found"]


def test_pages_that_are_not_articles_are_dropped(write: Callable[..., Path]) -> None:
    dump = wikipedia_xml([("Real", "An article."), ("Old", "#redirect [[Real]]"), ("Talk:Real", "Chat."), ("M", "{}")])
    dump = dump.replace("<title>Talk:Real</title>\n    <ns>0</ns>", "<title>Talk:Real</title>\n    <ns>1</ns>")
    head, last = dump.rsplit("wikitext</model>", 1)
    dump = f"{head}json</model>{last}".replace("<title>Real</title>", "<title>Real</title><restrictions/>")
    dump = dump.replace("</siteinfo>\n", "</siteinfo>\n<page><ns>0</ns><redirect title='x'/></page>\n")
    found = [(document.text, document.drop) for document in read(write(dump), "wikipedia")]
    assert found == [
        ("", "redirect"), ("An article.", ""), ("", "redirect"), ("", "not_an_article"), ("", "not_wikitext"),
    ]  # fmt: skip


def test_last_revision_of_a_page_is_used(write: Callable[..., Path]) -> None:
    dump = (
        "<mediawiki><page><revision><text>old</text></revision><revision><text>new</text></revision></page></mediawiki>"
    )
    assert texts(write(dump), "wikipedia") == ["new"]


def test_entities_cannot_expand(write: Callable[..., Path]) -> None:
    bomb = '<!DOCTYPE mediawiki [<!ENTITY a "boom"><!ENTITY b "&a;&a;&a;&a;">]>\n' + wikipedia_xml([("T", "x")])
    path = write(bomb.replace(">x<", ">&b;<"))
    with pytest.raises(UserError, match="not well-formed XML: undefined entity"):
        read(path, "wikipedia")


@pytest.mark.parametrize("end", ["", "  <page>\n    <title>Cut", "</mediawi"])
def test_truncated_dump_is_an_error(write: Callable[..., Path], end: str) -> None:
    path = write(wikipedia_xml([("T", "text")], end=end))
    with pytest.raises(UserError, match="truncated") as raised:
        read(path, "wikipedia")
    assert raised.value.place == str(path)


@pytest.mark.parametrize(("name", "compress"), [("a.gz", gzip.compress), ("a.bz2", bz2.compress)])
def test_compressed_text_in_two_members(
    write: Callable[..., Path], name: str, compress: Callable[[bytes], bytes]
) -> None:
    path = write(compress(b"one\n\ntw") + compress(b"o\n\nthree\n"), name)
    assert texts(path) == ["one\n", "two\n", "three\n"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="truncated"):
        read(path)


def test_invalid_utf8_is_replaced_and_counted(write: Callable[..., Path]) -> None:
    path = write(b"fine\n\nbro\xffken\n\ncut \xe2\x82\n")
    assert [(document.text, document.repairs) for document in read(path)] == [
        ("fine\n", ()), ("bro\ufffdken\n", REPLACED), ("cut \ufffd\n", REPLACED),
    ]  # fmt: skip


def test_invalid_utf8_is_refused_if_the_recipe_requests_it(write: Callable[..., Path]) -> None:
    path = write(b"fine\n\nbro\xffken\n")
    with pytest.raises(UserError, match="not UTF-8") as raised:
        read(path, invalid_utf8="refuse")
    assert raised.value.place == f"{path}, byte 6"


def test_unpaired_surrogate_is_invalid(write: Callable[..., Path]) -> None:
    path = write('{"text": "a\\ud83db"}\n{"text": "whole \\ud83d\\ude00"}\n')
    assert [(document.text, document.repairs) for document in read(path, "jsonl")] == [
        ("a\ufffdb", REPLACED), ("whole \U0001f600", ()),
    ]  # fmt: skip
    with pytest.raises(UserError, match="surrogate"):
        read(path, "jsonl", invalid_utf8="refuse")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("text", b"word word\n" * 20),
        ("text", b"x" * 150),
        ("jsonl", b'{"text": "' + b"x" * 150),
        ("wikipedia", b"<page>" + b"x" * 150),
    ],
)
def test_file_without_boundaries_is_an_error(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kind: str, content: bytes
) -> None:
    monkeypatch.setattr(boundaries, "MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr(boundaries, "_READ_BYTES", 10)
    with pytest.raises(UserError, match="a document is larger than"):
        read(write(content), kind)


def test_long_line_is_one_document(write: Callable[..., Path]) -> None:
    content = "word " * 400_000
    assert texts(write(content), cuts=(500, 1_000_000)) == [content]


EXTRACTED = (
    '<doc id="1" url="https://a" title="One">\nOne\n\nFirst <b> & paragraph.\n\n</doc>\n'
    '<doc id="2" url="https://b" title="Two > one">\nTwo\n\nSecond.\n\n</doc>\n<doc id="3" url="" title="">\n\n</doc>\n'
)


def test_wikiextractor_elements_are_documents(write: Callable[..., Path]) -> None:
    path = write(EXTRACTED)

    expected = ["One\n\nFirst <b> & paragraph.", "Two\n\nSecond.", ""]
    assert [text.strip() for text in texts(path, "wikiextractor")] == expected
    for cut in range(1, len(EXTRACTED)):
        assert [text.strip() for text in texts(path, "wikiextractor", cuts=(cut,))] == expected


def test_element_without_end_tag_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="truncated"):
        texts(write(EXTRACTED[:-8]), "wikiextractor")


def test_lines_of_sentences_are_marked_as_split(write: Callable[..., Path]) -> None:
    path = write("One. Still one.\nTwo.\n\nThree.\n")
    found = [(document.text, document.is_split) for document in read(path, "sentences")]
    assert found == [("One. Still one.\nTwo.\n", True), ("Three.\n", True)]


def test_format_files_reads_a_file_as_one_document(write: Callable[..., Path]) -> None:
    assert texts(write("one\n\nstill one\n"), "files") == ["one\n\nstill one\n"]
    assert texts(write(gzip.compress(b"packed\n\ntoo\n"), "a.gz"), "files") == ["packed\n\ntoo\n"]


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["one", None, ""]}), path)
    found = [(document.text, document.drop, document.place) for document in read(path, "parquet")]
    assert found == [("one", "", f"{path}, row 0"), ("", "no_text_field", f"{path}, row 1"), ("", "", f"{path}, row 2")]


def test_document_has_the_weight_of_its_corpus(write: Callable[..., Path]) -> None:
    corpus = CorpusConfig(paths=["a"], format="text", weight=2.5)
    span = FileSpan(0, str(write("one\n")), 0, None, 0, 0)
    assert [document.weight for document in read_documents(span, corpus, DataConfig(), ReadCounter())] == [2.5]


def test_wikitext_is_parted_sooner_than_text(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_WIKITEXT_CHARS", 50)
    text = "A line.\n" * 10
    assert [len(document.text) for document in read(write(wikipedia_xml([("A", text)])), "wikipedia")] == [48, 32]
    assert [document.text for document in read(write(text), "files")] == [text]


@pytest.mark.parametrize("blank", [" ", "\n", ""])
def test_long_document_is_parted_and_nothing_lost(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    monkeypatch.setattr(reader, "MOST_CHARS", 100)
    content = blank.join(str(number) for number in range(100, 200))
    found = read(write(content))
    assert "".join(document.text for document in found) == content
    assert max(len(document.text) for document in found) <= 100
    assert all(document.repairs == ("part_of_a_long_document",) for document in found)
    assert all(document.text.endswith(blank) for document in found[:-1])


@pytest.mark.parametrize(("weight", "longest"), [(1.0, 100), (8.0, 100), (8.5, 50), (100.0, 7)])
def test_what_is_taken_often_is_parted_sooner(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, weight: float, longest: int
) -> None:
    monkeypatch.setattr(reader, "MOST_CHARS", 100)
    corpus = CorpusConfig(paths=["a"], format="text", weight=weight)
    found = list(read_documents(FileSpan(0, str(write("x" * 200)), 0, None, 0, 0), corpus, DataConfig(), ReadCounter()))
    assert max(len(document.text) for document in found) == longest


def test_json_lines_of_files_that_were_joined(write: Callable[..., Path]) -> None:
    mark = b"\xef\xbb\xbf"
    assert texts(write(mark + b'{"text": "one"}\n' + mark + b'{"text": "two"}\n'), "jsonl") == ["one", "two"]


def test_null_characters_and_carriage_returns_are_no_harm(write: Callable[..., Path]) -> None:
    path = write(b"o\0ne\rstill\r\rtwo")
    assert [clean(text) for text in texts(path)] == ["one\nstill", "two"]
