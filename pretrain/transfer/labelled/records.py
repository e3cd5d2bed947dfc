"""The records of one file or part, with counts of what was changed and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.errors import UserError
from pretrain.transfer.tables import RecordError

HOW_TO_PREDICT = "to label a file without labels: `bertrain predict MODEL FILE`"


@dataclass
class Records:
    """Records as tasks read them (`text`, `label` …), and the rows from which they were read.

    `treated` counts records, or parts of them, that are used but were changed. `dropped` counts records of the file
    that are not used: `len(records) + dropped.total()` is the file's number of records.
    """

    place: str
    records: list[dict[str, Any]] = field(default_factory=list)
    treated: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)  # as the file gives them, one per record
    label_column: str = ""
    columns: list[str] = field(default_factory=list)  # that hold texts and label, for the user

    def __len__(self) -> int:
        return len(self.records)

    def select(self, numbers: Sequence[int]) -> Records:
        """Return the records with these indices, without the counts, which belong to the whole file."""
        rows = [self.rows[number] for number in numbers] if self.rows else []
        records = [self.records[number] for number in numbers]
        return Records(self.place, records, rows=rows, label_column=self.label_column, columns=self.columns)

    def row(self, number: int) -> dict[str, Any]:
        """Return a record as its file gives it."""
        return self.rows[number] if self.rows else self.records[number]

    def not_empty(self) -> Records:
        """Return the records themselves; raise `UserError` when there are none."""
        if not self.records:
            left_out = "".join(f"; {count:,} dropped: {cause}" for cause, count in self.dropped.items())
            raise UserError(f"no records{left_out}", place=self.place, fix="give a file with records")
        return self


@dataclass(frozen=True)
class BadRecords:
    """What happens to a record that cannot be used: it is refused with its line, or dropped and counted."""

    drop: bool

    def take(self, made: Records, bad: RecordError, place: str) -> None:
        """Count the record in `made`, or raise `UserError`."""
        if not self.drop:
            fix = f"{bad.fix}, or set task.bad_records=drop to leave such records out and count them"
            raise UserError(bad.cause, place=place, fix=fix)
        made.dropped[bad.cause] += 1
