"""The one reading of texts, labels and numbers, whatever the file and the task.

A label is read as its name: white space and invisible characters around it are removed; 1, 1.0 and "1" are one label,
and so are true, "True" and "TRUE", and an é of one or of two characters. Empty cells, NaN and null are no label.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from pretrain.transfer.tables import RecordError

NO_LABEL = {"", "nan", "null", "<na>", "#n/a", "-"}  # in lower case; "-" is SNLI's sign for no agreement
HIDDEN = "-1"  # the field's sign for the hidden labels of a test file
INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # of no width, or of the direction of writing
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?")
FIX_LABEL = "give that record a label"
NESTED = "write each field of the object as a column of its own, since fields inside objects are not read"


def read_text(value: Any, column: str) -> str:
    """Return a text; a list of tokens is joined by spaces. Raises `RecordError` for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(token, str) for token in value):
        return " ".join(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    kind = "no text" if value is None or isinstance(value, float) else f"{kind_of(value)} instead of a text"
    raise RecordError(f"{kind} in column {column!r}", NESTED if isinstance(value, dict) else "give that record a text")


def read_label(value: Any, column: str) -> str:
    """Return a label's name. Raises `RecordError` where there is no label, or an object."""
    if isinstance(value, list | dict):
        fix = NESTED if isinstance(value, dict) else FIX_LABEL
        raise RecordError(f"{kind_of(value)} instead of a label in column {column!r}", fix)
    name = label_name(value)
    if name is None:
        raise RecordError(f"no label in column {column!r}", FIX_LABEL)
    return name


def read_labels(value: Any, column: str) -> list[str]:
    """Return the names of a record's labels, sorted; there can be none. Raises `RecordError` for other values."""
    if not isinstance(value, list):
        cause = f"one label, {value!r}, in column {column!r}, where other records have lists"
        raise RecordError(cause, f'write it as a list, e.g. ["{value}"]')
    names = [read_label(one, column) for one in value]
    if len(set(names)) < len(names):
        cause = f"a list that names a label twice in column {column!r}: {value!r}"
        raise RecordError(cause, "list the names of the labels that apply, not one 0 or 1 for each")
    return sorted(names)


def read_number(value: Any, column: str, *, decimal_comma: bool = False) -> float:
    """Return a finite number. Raises `RecordError` for anything else."""
    text = str(value).strip()
    if decimal_comma and re.fullmatch(r"[+-]?\d+,\d+", text):
        text = text.replace(",", ".")
    try:
        number = math.nan if isinstance(value, bool) else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RecordError(f"the label {value!r} in column {column!r} is not a number", "write a number")
    return number


def label_name(value: Any) -> str | None:
    """Return the name of a label, or None where there is none."""
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    text = " ".join(unicodedata.normalize("NFC", str(value)).split()).strip(f" {INVISIBLE}")
    if text.lower() in NO_LABEL:
        return None
    if text.lower() in ("true", "false"):
        return text.lower()
    if NUMBER.fullmatch(text):
        whole, _, fraction = text.removeprefix("+").partition(".")
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}" if fraction else str(int(whole))
    return text


def kind_of(value: Any) -> str:
    """Return what a value is, in words."""
    names = {dict: "an object", list: "a list", bool: "true or false", str: "a text", bytes: "bytes"}
    return names.get(type(value), f"a {type(value).__name__}")
