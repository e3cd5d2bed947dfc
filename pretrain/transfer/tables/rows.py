"""A table as all readers return it: named columns and rows with their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


class RecordError(Exception):
    """A record that cannot be used; `fix` says how to correct it."""

    def __init__(self, cause: str, fix: str) -> None:
        self.cause, self.fix = cause, fix
        super().__init__(cause)


@dataclass(frozen=True)
class Row:
    """One record: its file and line or number, and its values by column, or why it cannot be read."""

    place: str
    values: dict[str, Any]
    problem: RecordError | None = None


@dataclass(frozen=True)
class Table:
    """The rows of a file, read once, and the columns of its header or first record."""

    place: str
    columns: list[str]
    rows: Iterator[Row]
    notes: Counter[str] = field(default_factory=Counter)  # about records that are read, counted while `rows` is read
    decimal_comma: bool = False  # whether "0,5" is a number, as in files whose fields are separated by semicolons
