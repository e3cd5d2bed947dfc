"""Rows of JSON: one object per line (JSONL), or an array of objects, also as the value of `data`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from configs.errors import UserError
from pretrain.transfer.tables.rows import RecordError, Row, Table

HEAD = 100  # records whose keys are the columns: the first one can be damaged, or lack some
FIX_LINE = "write one JSON object per line"


def read_json(lines: Iterator[str], place: str) -> Table:
    """Return the table of JSONL, or of a file with one array of objects."""
    leading = []
    for line in lines:
        leading.append(line)
        if line.strip():
            break
    value, whole = _value_of(leading[-1] if leading else ""), chain(leading, lines)
    is_lines = isinstance(value, dict) and not _is_list_of_objects(value.get("data"))
    rows = _of_lines(whole, place) if is_lines else _of_array("\n".join(whole), place)
    head = list(islice(rows, HEAD))
    columns = list(dict.fromkeys(name for row in head for name in row.values))
    return Table(place, columns, chain(head, rows))


def is_object(line: str) -> bool:
    """Return whether a line is a JSON object, or an array that begins with one."""
    value = _value_of(line)
    return isinstance(value, dict) or line.lstrip().startswith(('[{"', "[{}"))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def parse(text: str) -> Any:
    """Parse JSON. Raises `ValueError`, also for an object that has a key twice and for too deep a nesting."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is no text") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return made


def _value_of(line: str) -> Any:
    try:
        return parse(line)
    except ValueError:
        return {} if line.lstrip().startswith("{") and line.rstrip().endswith("}") else None


def _of_lines(lines: Iterator[str], place: str) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{place}, line {number}"
        try:
            value = parse(line)
        except ValueError as error:
            yield Row(where, {}, RecordError(f"not JSON: {error}", FIX_LINE))
            continue
        problem = None if isinstance(value, dict) else RecordError("not a JSON object", FIX_LINE)
        yield Row(where, value if problem is None else {}, problem)


def _of_array(text: str, place: str) -> Iterator[Row]:
    try:
        value = parse(text)
    except ValueError as error:
        fix = f"{FIX_LINE}, or one array of objects"
        raise UserError(f"not JSON: {error}", place=place, fix=fix) from error
    records = value.get("data") if isinstance(value, dict) else value
    if not isinstance(records, list):
        raise UserError("JSON, but not an array of objects", place=place, fix=f"{FIX_LINE}, or one array of objects")
    for number, record in enumerate(records, 1):
        problem = None if isinstance(record, dict) else RecordError("not a JSON object", "write an array of objects")
        yield Row(f"{place}, record {number}", record if problem is None else {}, problem)
