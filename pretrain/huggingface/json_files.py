"""The JSON files of a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.files import MOST_MODEL_BYTES, read_bounded
from configs.records import parse_object


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises `UserError` if there is none."""
    try:
        return parse_object(read_bounded(path, MOST_MODEL_BYTES))
    except OSError as error:
        fix = "give a folder in Hugging Face's form, or a run"
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix=fix) from error
    except ValueError as error:
        raise UserError(f"not JSON: {error}", place=str(path), fix="download the file again") from error


def read_json_if_there(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; an empty one if the file does not exist."""
    return read_json(path) if path.is_file() else {}


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object, or an empty one in place of null and of any other value."""
    return value if isinstance(value, dict) else {}


def write_json(path: Path, content: object) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
