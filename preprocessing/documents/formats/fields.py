"""Find the text of a document in the nested values of a JSON object or of an Arrow row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

Text = TypeVar("Text", str, bytes)


def text_at(row: Any, fields: Sequence[str], newline: Text) -> Text | None:
    """Return the texts of the fields, joined by line ends, or None when no field holds a text.

    A field is a key, or a path of keys with dots: "content.text". The keys of an object are tried first as they are,
    dots included. A list stands for all of its values: paragraphs of text, or objects that hold one each. A field that
    holds a value other than text, such as a number, holds no text.
    """
    texts = [found for field in fields if (found := _texts(row, field, type(newline))) is not None]
    return newline.join(text for of_field in texts for text in of_field) if texts else None


def _is_null(value: Any, path: str) -> bool:
    """Return whether there is nothing at a path: null instead of a text, or of an object around it."""
    if not isinstance(value, dict) or not path:
        return value is None
    if path in value:
        return value[path] is None
    key, _, rest = path.partition(".")
    return bool(rest) and key in value and _is_null(value[key], rest)


def _texts(value: Any, path: str, kind: type[Text]) -> list[Text] | None:
    """Return the texts at a path. None: the path does not exist, or leads to a value that is not text."""
    if isinstance(value, list):
        found = [_texts(part, path, kind) for part in value if not _is_null(part, path)]
        texts = [text for part in found if part is not None for text in part]
        return texts if all(part is not None for part in found) else None
    if isinstance(value, kind):
        return None if path else [value]
    if not isinstance(value, dict) or not path:
        return None
    if path in value:
        return _texts(value[path], "", kind)
    key, _, rest = path.partition(".")
    return _texts(value.get(key), rest, kind) if rest else None
