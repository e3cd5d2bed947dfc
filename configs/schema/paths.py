"""Paths in a recipe: one type for all keys, so that `~` and `$VARIABLE` mean the same everywhere."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)


def expanded(text: str) -> str:
    """Return a path or URL with its `~`, `$VARIABLE`s and `${VARIABLE}`s replaced.

    Raises `ValueError` for an empty text, a variable that is not set, and the home folder of an unknown user.
    """
    path = _VARIABLE.sub(_value, not_empty(text))
    if path.startswith("~"):
        try:
            path = str(Path(path).expanduser())
        except RuntimeError as error:
            raise ValueError(f"there is no home folder {path.partition('/')[0]}") from error
    return path


def not_empty(text: str) -> str:
    """Return the text. Raises `ValueError` if it is empty."""
    if not text.strip():
        raise ValueError("the path is empty; leave the key out to use its default")
    return text


def _value(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    value = os.environ.get(name, "")
    if not value:
        raise ValueError(f"the environment variable {name} is not set")
    return value


LocalPath = Annotated[str, AfterValidator(expanded)]  # a path or URL, expanded where the recipe is read
NodePath = Annotated[str, AfterValidator(not_empty)]  # expanded on each node, by `expanded`
