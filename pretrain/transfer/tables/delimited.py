"""Rows of CSV and its relatives. The header line names the columns; its most frequent separator separates fields.

A quotation mark encloses a field, except in tab-separated files, where it is an ordinary character. A record with more
or fewer fields than the header cannot be used.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

from configs.errors import UserError
from pretrain.transfer.tables.rows import RecordError, Row, Table

SEPARATORS = ("\t", ",", ";", "|")
MANY_LINES = 20  # of one record; a quotation mark that a later text closes would join as many
BOM = "\ufeff"  # the mark of UTF-8, also in the middle, where files were concatenated
MAX_FIELD = 1 << 27  # characters; Python's own limit is 131,072

NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}


def read_delimited(lines: Iterator[str], place: str, names: Sequence[str] = ()) -> Table:
    """Return the table of these lines; `names` are the columns of a file without a header line."""
    csv.field_size_limit(MAX_FIELD)
    number, first = next(((n, line) for n, line in enumerate(lines, 1) if line.strip()), (1, ""))
    separator = separator_of(first)
    header = _header(first, separator, f"{place}, line {number}")
    columns = list(names) or header
    if names and len(header) != len(names):
        cause = f"{len(header)} fields, but task.columns names {len(names)}"
        raise UserError(cause, place=f"{place}, line {number}", fix="correct task.columns")
    body = chain([first], lines) if names else lines
    notes = Counter[str]()
    rows = _rows(body, separator, columns, place, number - 1 if names else number, notes)
    return Table(place, columns, rows, notes, decimal_comma=separator == ";")


def _header(line: str, separator: str, place: str) -> list[str]:
    try:
        return [name.strip() for name in next(_fields(iter([line]), separator), [])]
    except csv.Error as error:
        raise _explained(error, place) from error


def separator_of(header: str) -> str:
    """Return the separator that divides the header line into the most fields; a comma if none does."""
    counts = {separator: header.count(separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=lambda separator: counts[separator])
    return best if counts[best] else ","


def _fields(lines: Iterator[str], separator: str) -> Any:  # csv.reader has no public type
    quoting: Literal[0, 3] = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    ended = (f"{line}\n" for line in lines)
    blanks = separator not in "\t "
    return csv.reader(ended, delimiter=separator, quoting=quoting, strict=True, skipinitialspace=blanks)


def _rows(
    lines: Iterator[str], separator: str, columns: Sequence[str], place: str, before: int, notes: Counter[str]
) -> Iterator[Row]:
    unique = _unique(columns)
    reader, start = _fields(lines, separator), before + 1
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _explained(error, f"{place}, line {start}") from error
        if fields is None:
            return
        lines_of_record = before + reader.line_num + 1 - start
        if lines_of_record > MANY_LINES:
            notes[f"records of more than {MANY_LINES} lines: check their quotation marks"] += 1
        if fields:
            yield _row(fields, unique, f"{place}, line {start}", separator)
        start = before + reader.line_num + 1


def _row(fields: list[str], columns: Sequence[str], place: str, separator: str) -> Row:
    if [field.removeprefix(BOM).strip() for field in fields] == list(columns):
        return Row(place, {}, RecordError("the header line again", "remove that line"))
    extra = fields[len(columns) :]
    if len(fields) < len(columns) or any(extra):
        quote = "" if separator == "\t" else f": enclose a text that contains {NAMES[separator]} in quotation marks"
        cause = f"{len(fields)} fields separated by {NAMES[separator]}, but the header names {len(columns)}"
        return Row(place, {}, RecordError(cause, f"correct that line{quote}"))
    return Row(place, dict(zip(columns, fields, strict=False)))


def _unique(columns: Sequence[str]) -> list[str]:
    """Return the names with a number added to those that occur before."""
    return [f"{name}.{number}" if name in columns[:number] else name for number, name in enumerate(columns)]


def _explained(error: csv.Error, place: str) -> UserError:
    text = str(error)
    if "unexpected end of data" in text:
        fix = 'close it, or write "" for a quotation mark within a text that is enclosed in quotation marks'
        return UserError("a quotation mark opens a text here and is never closed", place=place, fix=fix)
    if "new-line character" in text:
        cause = "a carriage return stands inside a line"
        return UserError(
            cause, place=place, fix="enclose that text in quotation marks, or save the file with one kind of line end"
        )
    if "field larger than" in text:
        return UserError(f"a field of more than {MAX_FIELD:,} characters", place=place, fix="divide it")
    if "expected after" in text:
        fix = 'enclose the text in quotation marks and write "" for each one within it'
        return UserError("text follows the quotation mark that ends a field", place=place, fix=fix)
    return UserError(f"not CSV: {text}", place=place, fix="correct that line")
