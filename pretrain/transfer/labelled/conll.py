"""Sentences with one token per line: CoNLL's columns, CoNLL-U, GermEval, and tables with lists of tokens and labels.

A first column that counts the tokens from 1 marks CoNLL-U (10 columns), GermEval (4), and others of three or more, of
two in a file without labels: the token is in the second column then, and lines that begin with # are comments.
Otherwise the token is in the first column. All lines of a file have the same number of columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.columns import TAGS, label_column, tokens_column
from pretrain.transfer.labelled.records import HOW_TO_PREDICT, BadRecords, Records
from pretrain.transfer.labelled.values import label_name
from pretrain.transfer.tables import (
    STATE,
    RecordError,
    Row,
    Table,
    is_columnar,
    open_content,
    place_of,
    read_saved_dataset,
    refuse_folder,
    table_of,
    text_lines,
)

CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
GERMEVAL = ("index", "token", "outer", "inner")
BLANKS = re.compile(r"[ \t]+")
RANGE = re.compile(r"\d+[-.]\d+")  # a word of several tokens, or an empty node
COMMENTS = ("# ", "#\t")
BLANK = "_"  # CoNLL-U's sign for no value
GLOBAL_COLUMNS = "# global.columns ="


@dataclass(frozen=True)
class Layout:
    """Which columns of a file hold what."""

    columns: int
    token: int
    label: int
    has_index: bool
    tabs: bool

    def split(self, line: str) -> list[str]:
        """Return the line's columns."""
        return line.split("\t") if self.tabs else BLANKS.split(line.strip(" \t"))

    def checked(self, line: str, place: str, *, labelled: bool) -> list[str]:
        """Return the line's columns. Raises `UserError` for another number of them, and for one that is empty."""
        columns = self.split(line)
        if len(columns) != self.columns:
            cause = f"{len(columns)} columns, but the first token has {self.columns}"
            fix = f"write one token per line, with the same columns on all lines; {HOW_TO_PREDICT}"
            raise UserError(cause, place=place, fix=fix)
        if not columns[self.token].strip():
            raise UserError("a line without a token", place=place, fix="remove it, or write the token")
        if labelled and columns[self.label] != BLANK and label_name(columns[self.label]) is None:
            raise UserError("a token without a label", place=place, fix=f"label it; {HOW_TO_PREDICT}")
        return columns


def read_tokens(path: Path, task: TaskConfig, *, labelled: bool = True) -> Records:
    """Read sentences as records of `tokens` and `labels`, from token columns or from a table.

    Raises `UserError` for a line without a label, or with another number of columns than the lines before.
    """
    if (path / STATE).is_file():
        return _of_table(read_saved_dataset(path), task, labelled=labelled)
    refuse_folder(path)
    with open_content(path) as stream:
        head = stream.peek(1).lstrip()
        if is_columnar(head) or head.startswith((b'{"', b"[{")):
            return _of_table(table_of(stream, place_of(path)), task, labelled=labelled)
        return read_conll(text_lines(stream, place_of(path)), place_of(path), task.label, labelled=labelled)


def read_conll(lines: Iterable[str], place: str, label: str | None = None, *, labelled: bool = True) -> Records:
    """Read token columns; `label` is a column's number from 1, or its name in CoNLL-U."""
    made, whole = Records(place), [*lines, ""]
    layout = _layout_of(whole, label, place, labelled=labelled)
    sentence: list[list[str]] = []
    for number, line in enumerate(whole, 1):
        if _is_blank(line):
            if sentence:
                made.records.append(_record(sentence, layout, labelled=labelled))
            sentence = []
        elif not _is_comment(line, layout, at_start=not sentence):
            columns = layout.checked(line, f"{place}, line {number}", labelled=labelled)
            if layout.has_index and RANGE.fullmatch(columns[0]):
                made.treated["ranges of words and empty nodes: skipped"] += 1
            else:
                sentence.append(columns)
    if layout.has_index and layout.columns == len(GERMEVAL) and labelled and label is None:
        made.treated["labels of inner entities (column 4): not used"] += sum(len(r["tokens"]) for r in made.records)
    return made.not_empty()


def _is_blank(line: str) -> bool:
    return not line.strip() or line.split()[0] == "-DOCSTART-"


def _is_comment(line: str, layout: Layout, *, at_start: bool) -> bool:
    """Return whether a line is a comment: it begins with #, and is not a token that is this sign."""
    if layout.has_index:
        return line.startswith("#")
    return at_start and line.startswith(COMMENTS) and len(layout.split(line)) != layout.columns


def _layout_of(lines: Sequence[str], label: str | None, place: str, *, labelled: bool) -> Layout:
    """Return the layout of the file with these lines."""
    header = next((line for line in lines if line.startswith(GLOBAL_COLUMNS)), GLOBAL_COLUMNS)
    declared = tuple(header.removeprefix(GLOBAL_COLUMNS).split())
    number, first = next(((n, line) for n, line in enumerate(lines, 1) if _is_token(line)), (1, ""))
    tabs = "\t" in first.strip()
    plain = Layout(0, 0, 0, False, tabs)
    count = len(plain.split(first))
    if labelled and count < 2 and first:
        fix = f"write `token label`, as CoNLL does; {HOW_TO_PREDICT}"
        raise UserError("a token without a label", place=f"{place}, line {number}", fix=fix)
    has_index = bool(declared) or (count > (2 if labelled else 1) and _is_counted(lines, plain))
    usual: tuple[tuple[str, ...], ...] = (CONLL_U, GERMEVAL)
    names = declared or next((names for names in usual if has_index and count == len(names)), ())
    token = names.index("FORM") if "FORM" in names else int(has_index)
    place_of_label = next((names.index(name) for name in ("UPOS", "outer") if name in names), count - 1)
    if label and labelled:
        place_of_label = _label_index(label, names, count, place)
    return Layout(count, token, place_of_label, has_index, tabs)


def _is_token(line: str) -> bool:
    return not _is_blank(line) and not line.startswith(COMMENTS)


def _is_counted(lines: Sequence[str], layout: Layout) -> bool:
    """Return whether the first column counts the tokens of the first sentence that has several."""
    indices: list[str] = []
    for line in lines:
        if _is_token(line):
            first = layout.split(line)[0]
            indices += [] if RANGE.fullmatch(first) else [first]
        elif _is_blank(line):
            if len(indices) > 1:
                break
            indices = []
    return len(indices) > 1 and indices == [str(number) for number in range(1, len(indices) + 1)]


def _label_index(label: str, names: Sequence[str], count: int, place: str) -> int:
    known = [name.lower() for name in names]
    if label.lower() in known:
        return known.index(label.lower())
    if label.isdigit() and 1 <= int(label) <= count:
        return int(label) - 1
    allowed = f"a number from 1 to {count}" + (f", or one of {', '.join(names)}" if names else "")
    raise UserError(f"no column {label!r}", place=place, fix=f"set task.label to {allowed}")


def _record(sentence: list[list[str]], layout: Layout, *, labelled: bool) -> dict[str, Any]:
    tokens = [columns[layout.token] for columns in sentence]
    if not labelled:
        return {"tokens": tokens}
    return {"tokens": tokens, "labels": [label_name(columns[layout.label]) or BLANK for columns in sentence]}


def _of_table(table: Table, task: TaskConfig, *, labelled: bool) -> Records:
    tokens = tokens_column(table, task)
    made = Records(table.place, columns=[tokens])
    made.label_column = label_column(table, task, TAGS) if labelled else ""
    bad = BadRecords(task.bad_records == "drop")
    for row in table.rows:
        try:
            made.records.append(_sentence(row, tokens, made.label_column))
            made.rows.append(row.values)
        except RecordError as problem:
            bad.take(made, problem, row.place)
    return made.not_empty()


def _sentence(row: Row, tokens: str, label: str) -> dict[str, Any]:
    if row.problem:
        raise row.problem
    words = row.values.get(tokens)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise RecordError(f"no list of tokens in column {tokens!r}", "write the tokens of a sentence as a list")
    if not label:
        return {"tokens": words}
    names = [label_name(value) for value in row.values.get(label) or []]
    if len(names) != len(words):
        raise RecordError(f"{len(words)} tokens but {len(names)} labels", "write one label for each token")
    if None in names:
        raise RecordError(f"a token without a label in column {label!r}", "label all tokens")
    return {"tokens": words, "labels": names}
