"""One opener for every labelled file: what it is is read from its content, not from its name."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from configs.errors import UserError
from pretrain.transfer.tables.columnar import STATE, is_columnar, read_columnar, read_saved_dataset
from pretrain.transfer.tables.containers import open_content, place_of
from pretrain.transfer.tables.decoding import text_lines
from pretrain.transfer.tables.delimited import read_delimited
from pretrain.transfer.tables.json_rows import is_object, read_json
from pretrain.transfer.tables.rows import Table


@contextmanager
def open_table(path: Path, names: Sequence[str] = ()) -> Iterator[Table]:
    """Open a table: CSV and its relatives, JSONL, a JSON array, Parquet, Arrow, a folder of `datasets`; compressed too.

    `names` are the columns of a CSV file without a header line. `-` is standard input. Raises `UserError` for `names`
    of another file.
    """
    if (path / STATE).is_file():
        _refuse_names(names, str(path))
        yield read_saved_dataset(path)
        return
    refuse_folder(path)
    with open_content(path) as stream:
        yield table_of(stream, place_of(path), names)


def table_of(stream: io.BufferedReader, place: str, names: Sequence[str] = ()) -> Table:
    """Return the table of an opened file: Parquet or Arrow by its first bytes, JSON by its first bracket, else CSV."""
    if is_columnar(stream.peek(8)):
        _refuse_names(names, place)
        return read_columnar(stream, place)
    lines = text_lines(stream, place)
    leading = _through_first_line(lines)
    is_json = bool(leading) and leading[-1].lstrip().startswith(("{", "["))
    if is_json and names:  # a text of CSV without a header line can begin with a bracket
        is_json = is_object(leading[-1])
        _refuse_names(names if is_json else (), place)
    whole = chain(leading, lines)
    return read_json(whole, place) if is_json else read_delimited(whole, place, names)


def _refuse_names(names: Sequence[str], place: str) -> None:
    if names:
        cause = "task.columns names the columns of CSV without a header line, but this file has names of its own"
        raise UserError(cause, place=place, fix="remove task.columns")


def _through_first_line(lines: Iterator[str]) -> list[str]:
    """Return the lines up to and including the first that is not blank."""
    leading = []
    for line in lines:
        leading.append(line)
        if line.strip():
            break
    return leading


def refuse_folder(path: Path) -> None:
    """Raise `UserError` for a folder, and name the files in it."""
    if path.is_dir():
        inside = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
        found = f"it holds {', '.join(inside[:8])}{' …' if len(inside) > 8 else ''}" if inside else "it is empty"
        raise UserError(f"a folder, not a file; {found}", place=str(path), fix="give one of its files")
