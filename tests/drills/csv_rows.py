"""CSV files: each row below the header is a document, the text of one column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter, open_source


def csv_rows(
    path: str, _start: int, _end: int, text_field: str, counter: ReadCounter
) -> Iterator[tuple[str, bytes | None]]:
    """The place and the text of each row; None for a row that has no such column.

    Raises `UserError` for a file whose header does not name the column. A quoted text may hold line breaks.
    """
    with open_source(path, 0, counter) as stream:
        lines = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
        rows = csv.DictReader(lines)
        if text_field not in (rows.fieldnames or ()):
            fix = "set text_field of the corpus to one of its columns"
            raise UserError(f"the header names no column {text_field!r}", place=path, fix=fix)
        for row in rows:
            text = row[text_field]
            content = None if text is None else str(text).encode("utf-8", "surrogateescape")
            yield f"{path}, line {rows.line_num}", content
