"""Tables as text: each row below the header is a document, the text of one or several columns.

csv: values can be quoted (RFC 4180), and then hold line ends and separators. tsv: nothing is quoted.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.boundaries import MAX_DOCUMENT_BYTES
from preprocessing.documents.formats.format import Block
from preprocessing.documents.input_files import ReadCounter, open_source

_SEPARATORS = ",;\t|"  # of csv: the first one that separates the corpus's columns


def csv_rows(path: str, _start: int, _end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
    """Yield the rows of a file with quoted values. A row with another number of values than the header is dropped.

    Raises `UserError` for a header without the columns, and for quotation marks that are not doubled inside a value.
    """
    yield from _rows(path, corpus, counter, csv.QUOTE_MINIMAL, _SEPARATORS)


def tsv_rows(path: str, _start: int, _end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
    """Yield the rows of a file of values between tabs. Otherwise like `csv_rows`."""
    yield from _rows(path, corpus, counter, csv.QUOTE_NONE, "\t")


def _rows(path: str, corpus: CorpusConfig, counter: ReadCounter, quoting: int, separators: str) -> Iterator[Block]:
    csv.field_size_limit(MAX_DOCUMENT_BYTES)
    with open_source(path, counter, corpus.encoding) as stream:
        lines = _lines(stream, path)
        first = next(lines, "")
        separator = _separator(first, quoting, separators, corpus, path)
        # mypy: `quoting` is a constant of csv
        rows = csv.reader(chain([first], lines), delimiter=separator, quoting=quoting, strict=True)  # type: ignore[arg-type]
        try:
            header = next(rows)
            places = [_place(field, header, path) for field in corpus.text_fields]
            for row in rows:
                block = _text(row, places) if _is_record(row, header) else "broken_row"
                if row:
                    yield f"{path}, line {rows.line_num}", block
        except csv.Error as error:
            fix = "double the quotation marks inside quoted values, or convert the file to JSON lines"
            raise UserError(f"not CSV: {error}", place=f"{path}, line {rows.line_num}", fix=fix) from error


def _lines(stream: io.BufferedReader[Any], path: str) -> Iterator[str]:
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    for line in iter(partial(text.readline, MAX_DOCUMENT_BYTES + 1), ""):
        if len(line) > MAX_DOCUMENT_BYTES:
            cause = f"a line is longer than {MAX_DOCUMENT_BYTES >> 20} MiB"
            raise UserError(cause, place=path, fix="break the text into lines")
        yield line


def _separator(header: str, quoting: int, separators: str, corpus: CorpusConfig, path: str) -> str:
    """Return the separator of the columns. Raises `UserError` when the header does not name the corpus's columns."""
    for separator in separators:
        names = next(csv.reader([header], delimiter=separator, quoting=quoting), [])  # type: ignore[arg-type]
        if set(corpus.text_fields) <= set(names):
            return separator
    missing = ", ".join(map(repr, corpus.text_fields))
    fix = f"set the corpus's text_field to columns of the first line, which is: {header.strip()[:200]}"
    raise UserError(f"the first line does not name the column {missing}", place=path, fix=fix)


def _is_record(row: list[str], header: list[str]) -> bool:
    """Return whether a row has the header's columns and is not the header again, as where files were concatenated."""
    return len(row) == len(header) and [row[0].removeprefix("\ufeff"), *row[1:]] != header


def _place(field: str, header: list[str], path: str) -> int:
    if header.count(field) > 1:
        raise UserError(f"the file has several columns {field!r}", place=path, fix="rename all but one of them")
    return header.index(field)


def _text(row: list[str], places: list[int]) -> bytes:
    return "\n".join(row[place] for place in places).encode("utf-8", "surrogateescape")
