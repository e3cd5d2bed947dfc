"""Which columns hold the texts and the label: those that the task names, else the usual names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from configs.errors import UserError
from configs.transfer import TaskConfig
from pretrain.transfer.labelled.records import HOW_TO_PREDICT
from pretrain.transfer.tables import Table, separator_of

TEXTS = ("text", "sentence", "content", "review", "tweet", "comment", "message", "document", "question")
PAIRS = (
    ("text", "text_b"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("question", "sentence"),
    ("query", "passage"),
    ("#1 String", "#2 String"),
)
LABELS = ("label", "labels", "class", "category", "target", "gold_label", "score", "rating", "is_duplicate", "quality")
NAME = re.compile(r'"?(\w[\w.-]{0,30})"?')  # of a column; a field of a sentence would have blanks
TOKENS = ("tokens", "words")
TAGS = ("labels", "label", "tags", "ner_tags", "pos_tags", "chunk_tags", "ner", "upos")


def text_columns(table: Table, task: TaskConfig) -> list[str]:
    """Return the column of the text, or the two columns of a pair."""
    if task.kind != "pair":
        return [text_column(table, task.text)]
    if task.text or task.text_b:
        return [_find(table, task.text, ("text",), "text"), _find(table, task.text_b, ("text_b",), "text_b")]
    found = [names for pair in PAIRS if all(names := [_like(table, name) for name in pair])]
    if len(found) == 1 or (found and found[0] == ["text", "text_b"]):
        return [str(name) for name in found[0]]
    cause = "several pairs of text columns" if found else "no pair of text columns"
    raise UserError(cause, place=table.place, fix=f"{_has(table)}; set task.text and task.text_b to two of them")


def text_column(table: Table, named: str | None, setting: str = "task.text") -> str:
    """Return the column of single texts. `setting` is what names it in the command, for an error."""
    return _find(table, named, TEXTS, "text", setting)


def is_header(line: str) -> bool:
    """Return whether a line names columns, one of which holds texts by its usual name."""
    found = [NAME.fullmatch(field) for field in line.strip().removeprefix("\ufeff").split(separator_of(line))]
    return len(found) > 1 and all(found) and any(name[1].lower() in TEXTS for name in found if name)


def label_column(table: Table, task: TaskConfig, usual: Sequence[str] = LABELS) -> str:
    """Return the column of the label. Raises `UserError` if it is missing, or there are two of this name."""
    return _find(table, task.label, usual, "label")


def tokens_column(table: Table, task: TaskConfig) -> str:
    """Return the column of a sentence's tokens."""
    return _find(table, task.text, TOKENS, "text")


def _find(table: Table, named: str | None, usual: Sequence[str], key: str, setting: str = "") -> str:
    setting = setting or f"task.{key}"
    if named is not None:
        found = [named] if named in table.columns else []
    else:
        found = [name for wanted in usual if (name := _like(table, wanted))]
    # The first usual name is the documented default; among the others a choice would be a guess.
    if len(found) > 1 and found[0].lower() != usual[0]:
        cause = f"several columns can be the {key}: {', '.join(found)}"
        raise UserError(cause, place=table.place, fix=f"set {setting} to one of them")
    if not found:
        cause = f"no column {named!r}" if named else f"no column for the {key}"
        more = f"; {HOW_TO_PREDICT}" if key == "label" else ""
        fix = f"{_has(table)}; the first line must name the columns; set {setting} to one of them{more}"
        raise UserError(cause, place=table.place, fix=fix)
    if table.columns.count(found[0]) > 1:
        raise UserError(f"two columns are named {found[0]!r}", place=table.place, fix="rename one of them")
    return found[0]


def _like(table: Table, wanted: str) -> str | None:
    """Return the column of this name; else the one that differs from it in upper and lower case only."""
    if wanted in table.columns:
        return wanted
    return next((name for name in table.columns if name.lower() == wanted.lower()), None)


def _has(table: Table) -> str:
    return f"it has {', '.join(map(repr, table.columns)) or 'no columns'}"
