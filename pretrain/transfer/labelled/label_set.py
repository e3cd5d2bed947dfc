"""The labels of a task: those of all its parts, in one order, with their counts and their own spelling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretrain.transfer.labelled.records import Records
from pretrain.transfer.labelled.values import label_name

SPELLINGS = "labels in another spelling: read as the same label"


@dataclass(frozen=True)
class LabelSet:
    """The names of all labels, sorted; numbers by their value."""

    names: list[str]
    counts: dict[str, Counter[str]]  # by part
    values: dict[str, Any]  # each label as the data first writes it, with its type

    @classmethod
    def of(cls, parts: Mapping[str, Records]) -> LabelSet:
        """Collect the labels of records with `label` (a name or a list of names) or `labels` (one for each token)."""
        values: dict[str, Any] = {}
        for records in parts.values():
            _collect_values(records, values)
        return cls.of_labels({part: of.records for part, of in parts.items()}, values)

    @classmethod
    def of_labels(
        cls, parts: Mapping[str, Sequence[dict[str, Any]]], values: Mapping[str, Any] | None = None
    ) -> LabelSet:
        """Collect the labels of plain records; `values` is how the data writes them."""
        counts = {part: Counter(name for record in of for name in names_of(record)) for part, of in parts.items()}
        values = values or {}
        found = {name for of_part in counts.values() for name in of_part}
        return cls(sorted(found, key=_order), counts, {name: values.get(name, name) for name in found})

    def missing(self, part: str) -> list[str]:
        """Return the labels that do not occur in a part."""
        return [name for name in self.names if not self.counts[part][name]]

    def alike(self) -> list[str]:
        """Return the labels that differ from another one in upper and lower case only."""
        folded = Counter(name.casefold() for name in self.names)
        return [name for name in self.names if folded[name.casefold()] > 1]


def names_of(record: dict[str, Any]) -> list[str]:
    """Return the labels of a record: one, several, or one for each token."""
    found = record["labels"] if "labels" in record else record["label"]
    return found if isinstance(found, list) else [str(found)]


def _collect_values(records: Records, values: dict[str, Any]) -> None:
    """Add the labels as the file writes them, and count those that it writes in several ways."""
    spellings = 0
    for row in records.rows if records.label_column else []:
        given = row.get(records.label_column)
        for value in given if isinstance(given, list) else [given]:
            name = label_name(value)
            if name is None:
                continue
            own = values.setdefault(name, value.strip() if isinstance(value, str) else value)
            spellings += repr(own) != repr(value)
    if spellings:
        records.treated[SPELLINGS] += spellings


def _order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
