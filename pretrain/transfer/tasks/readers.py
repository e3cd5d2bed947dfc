"""Readers of labelled data: CSV, TSV, JSONL, CoNLL columns, SQuAD's JSON. Each returns validated records.

Missing or malformed data raises a `UserError` that names file and line. Skipped and corrected data is counted in
`treated`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from configs.errors import UserError

CSV_FORMATS = {".csv": ",", ".tsv": "\t"}


@dataclass
class Records:
    """The records of one file, and counts of skipped and corrected data by cause."""

    place: str
    records: list[dict[str, Any]] = field(default_factory=list)
    treated: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.records)

    def select(self, numbers: Sequence[int]) -> Records:
        """Return the records with these indices."""
        return Records(self.place, [self.records[number] for number in numbers], Counter(self.treated))


def read_table(path: Path, columns: Sequence[str]) -> Records:
    """Read CSV or TSV with a header line, or JSONL, by the file's extension; every record must contain `columns`."""
    made = Records(str(path))
    rows = _json_lines(path) if path.suffix not in CSV_FORMATS else _csv_rows(path, CSV_FORMATS[path.suffix])
    for place, row in rows:
        missing = [column for column in columns if row.get(column) is None]
        if missing:
            fix = f"it has {', '.join(map(repr, row))}; set the task's `text`, `text_b` or `label` to one of them"
            raise UserError(f"no column {missing[0]!r}", place=place, fix=fix)
        made.records.append({column: row[column] for column in columns})
    return _not_empty(made)


def read_conll(path: Path, label_column: int = -1) -> Records:
    """Read sentences with one token per line, separated by blank lines, as records of `tokens` and `labels`.

    The token is in the first column, the label in `label_column`. Columns are separated by white space; a line of only
    white space is blank; `-DOCSTART-` lines are skipped.
    """
    made = Records(str(path))
    tokens: list[str] = []
    labels: list[str] = []
    for number, line in enumerate([*_text(path).split("\n"), ""], 1):
        columns = line.split()
        if not columns or columns[0] == "-DOCSTART-":
            if tokens:
                made.records.append({"tokens": tokens, "labels": labels})
            tokens, labels = [], []
        elif len(columns) < 2:
            place = f"{path}, line {number}"
            raise UserError("a token without a label", place=place, fix="write `token label`, as CoNLL does")
        else:
            tokens.append(columns[0])
            labels.append(columns[label_column])
    return _not_empty(made)


def read_squad(path: Path) -> Records:
    """Read SQuAD's JSON (1.1 or 2.0) as `id`, `question`, `context`, `answers` (`text`, `start`), `possible`.

    An answer that is not at its offset is moved to its nearest occurrence in the context. An answer that does not occur
    is dropped, and so is a question left without answers. All are counted.
    """
    made = Records(str(path))
    try:
        for article in json.loads(_text(path))["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    _add_question(made, paragraph["context"], question)
    except (ValueError, KeyError, TypeError) as error:
        cause = f"not in SQuAD's form: {type(error).__name__} {error}"
        raise UserError(cause, place=str(path), fix="write data → paragraphs → qas → answers") from error
    return _not_empty(made)


def _add_question(made: Records, context: str, question: dict[str, Any]) -> None:
    answers = []
    for given in question.get("answers", []):
        text, start = given["text"], given["answer_start"]
        places = _places(context, text)
        if not places:
            made.treated["answers that are not in their context: dropped"] += 1
        elif context[start : start + len(text)] == text:
            answers.append({"text": text, "start": start})
        else:
            made.treated["answers not at their offset: moved to the nearest place"] += 1
            answers.append({"text": text, "start": min(places, key=lambda place: abs(place - start))})
    possible = not question.get("is_impossible", False)
    if possible and not answers:
        made.treated["questions without a usable answer: dropped"] += 1
        return
    record = {"id": str(question["id"]), "question": question["question"], "context": context}
    made.records.append(record | {"answers": answers if possible else [], "possible": possible})


def _places(context: str, text: str) -> list[int]:
    return [start for start in range(len(context)) if text and context.startswith(text, start)]


def _csv_rows(path: Path, separator: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # In the usual TSV files a quotation mark is an ordinary character.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    lines = _text(path).replace("\r\n", "\n").split("\n")
    reader = csv.DictReader((f"{line}\n" for line in lines), delimiter=separator, quoting=quoting)
    for row in reader:
        yield f"{path}, line {reader.line_num}", {name: value for name, value in row.items() if name is not None}


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"not JSON: {error}", place=place, fix="write one JSON object per line, or use .csv or .tsv"
            ) from error
        if not isinstance(row, dict):
            raise UserError("not a JSON object", place=place, fix="write one JSON object per line")
        yield place, row


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8 text", place=str(path), fix="save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix="check its name") from error


def _not_empty(made: Records) -> Records:
    if not made.records:
        raise UserError("no records", place=made.place, fix="give a file with records")
    return made
