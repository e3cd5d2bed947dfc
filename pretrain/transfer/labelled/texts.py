"""Records of classification, regression and multiple choice, from any table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from configs.transfer import TaskConfig
from pretrain.transfer.labelled.columns import label_column, text_columns
from pretrain.transfer.labelled.records import BadRecords, Records
from pretrain.transfer.labelled.values import label_name, read_label, read_labels, read_number, read_text
from pretrain.transfer.tables import RecordError, Row, Table, open_table

SWAG = ("sent1", "sent2", "ending0", "ending1", "ending2", "ending3")
TEXTS = ("text", "text_b")


def read_texts_of(path: Path, task: TaskConfig, *, labelled: bool = True) -> Records:
    """Read texts or pairs with their labels: `text`, `text_b`, `label` (a name, a list of names, or a number)."""
    with open_table(path, task.columns) as table:
        columns = text_columns(table, task)
        made = Records(table.place, columns=columns)
        if labelled:
            made.label_column = label_column(table, task)
            rows, is_list = _first_is_list(table.rows, made.label_column)
            table, target = replace(table, rows=rows), _target(table, task, made.label_column, is_list=is_list)
        _read(table, made, task, lambda row: _texts(row, columns) | ({"label": target(row)} if labelled else {}))
    lists = sum(any(isinstance(row[name], list) for name in columns) for row in made.rows)
    if lists:
        made.treated["texts that are lists of tokens: joined by spaces"] += lists
    return made


def read_choices(path: Path, task: TaskConfig, *, labelled: bool = True) -> Records:
    """Read SWAG's columns, or `context`, `choices` (a list) and `label`, the correct choice's index from 0."""
    with open_table(path, task.columns) as table:
        made = Records(table.place, columns=["context", "choices"], label_column=task.label or "label")
        is_swag = set(SWAG) <= set(table.columns)
        return _read(table, made, task, lambda row: _choice(row, made.label_column, is_swag, labelled))


def _read(table: Table, made: Records, task: TaskConfig, record_of: Callable[[dict[str, Any]], Any]) -> Records:
    bad = BadRecords(task.bad_records == "drop")
    for row in table.rows:
        try:
            if row.problem:
                raise row.problem
            made.records.append(record_of(row.values))
            made.rows.append(row.values)
        except RecordError as problem:
            bad.take(made, problem, row.place)
    made.treated += table.notes
    return made.not_empty()


def _first_is_list(rows: Iterator[Row], label: str) -> tuple[Iterator[Row], bool]:
    """Return the rows, and whether the first label is a list: then all records must have lists of labels."""
    first = next(rows, None)
    if first is None:
        return rows, False
    return chain([first], rows), isinstance(first.values.get(label), list)


def _target(table: Table, task: TaskConfig, label: str, *, is_list: bool) -> Callable[[dict[str, Any]], Any]:
    if task.regression:
        return lambda row: read_number(row.get(label), label, decimal_comma=table.decimal_comma)
    return lambda row: (read_labels if is_list else read_label)(row.get(label), label)


def _texts(row: dict[str, Any], columns: list[str]) -> dict[str, Any]:
    return {name: read_text(row.get(column), column) for name, column in zip(TEXTS, columns, strict=False)}


def _choice(row: dict[str, Any], label: str, is_swag: bool, labelled: bool) -> dict[str, Any]:
    choices = [f"{row['sent2']} {row[f'ending{number}']}" for number in range(4)] if is_swag else row.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        raise RecordError("`choices` is not a list of two or more", "write all choices as a list")
    made = {
        "context": read_text(row.get("sent1" if is_swag else "context"), "context"),
        "choices": [read_text(choice, "choices") for choice in choices],
    }
    if not labelled:
        return made
    name = label_name(row.get(label))
    if name is None or not name.isdigit() or int(name) >= len(choices):
        raise RecordError(f"label {row.get(label)!r} is not a choice's index", "count choices from 0")
    return made | {"label": int(name)}
