"""CSV and TSV: quoted values, separators, several columns, broken rows, and headers without the column."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter

TEXTS = ["one", 'says "two", twice', "three\nlines\n\nhere", "", "vier; fünf\tsechs"]


def read(path: Path, form: str = "csv", **corpus: Any) -> list[bytes | str]:
    config = CorpusConfig.model_validate({"paths": [str(path)], "format": form} | corpus)
    blocks = FORMATS[form].blocks(str(path), 0, 1 << 40, config, ReadCounter())
    return [block for _, block in blocks]


def table(rows: list[list[str]], separator: str = ",") -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator).writerows(rows)
    return stream.getvalue().encode()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_quoted_values_are_read_whatever_the_separator(tmp_path: Path, separator: str, mark: bytes) -> None:
    rows = [["id", "text"], *([str(number), text] for number, text in enumerate(TEXTS))]
    (tmp_path / "a.csv").write_bytes(mark + table(rows, separator))
    assert read(tmp_path / "a.csv") == [text.encode() for text in TEXTS]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=8))
def test_every_text_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(table([["text", "id"], *([text, "7"] for text in texts)]))
    assert read(path) == [text.encode() for text in texts]


def test_tabs_separate_values_that_are_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b'id\ttext\r\n1\t"open, and open\r\n\r\n2\ttwo\r\n')
    assert read(tmp_path / "a.tsv", "tsv") == [b'"open, and open', b"two"]


def test_several_columns_are_joined(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb") as stream:
        stream.write(table([["body", "id", "title"], ["one", "1", "T"], ["two", "2", ""]]))
    assert read(tmp_path / "a.csv.gz", text_field=["title", "body"]) == [b"T\none", b"\ntwo"]


def test_rows_with_another_number_of_values_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,text\n1,one\n2,two, too\n3\n\n4,four\n")
    assert read(tmp_path / "a.csv") == [b"one", "broken_row", "broken_row", b"four"]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_a_header_without_the_column_is_refused(tmp_path: Path, form: str) -> None:
    (tmp_path / "a").write_bytes(b"id,story\n1,one\n")
    with pytest.raises(UserError, match="the first line does not name the column 'text'") as raised:
        read(tmp_path / "a", form)
    assert "id,story" in raised.value.fix


@pytest.mark.parametrize("content", [b'text\n"one" and two\n', b'text\n"one\ntwo\n'])
def test_quotation_marks_that_are_not_doubled_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match="not CSV") as raised:
        read(tmp_path / "a.csv")
    assert "double the quotation marks" in raised.value.fix


def test_invalid_bytes_are_passed_on_and_other_encodings_are_converted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,id\ncafé,1\n".encode("latin-1"))
    assert read(tmp_path / "a.csv") == [b"caf\xe9"]
    assert read(tmp_path / "a.csv", encoding="latin-1") == ["café".encode()]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_header_of_a_concatenated_file_is_no_document(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "a.csv").write_bytes((mark + table([["text", "id"], ["one", "1"]])) * 2)
    assert read(tmp_path / "a.csv") == [b"one", "broken_row", b"one"]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(table([["text", "text"], ["one", "two"]]))
    with pytest.raises(UserError, match="several columns 'text'"):
        read(tmp_path / "a.csv")
