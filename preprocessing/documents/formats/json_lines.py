"""JSON lines: each line is an object, and one or several of its fields hold the document's text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.boundaries import RawDocument, line_blocks
from preprocessing.documents.formats.fields import text_at
from preprocessing.storage import Section

_START_BYTES = 1 << 16
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*(\{|\n)")
_PRETTY_OBJECT = re.compile(rb"(\xef\xbb\xbf)?\s*\{[ \t\r]*\n")


def object_blocks(section: Section, path: str) -> Iterator[RawDocument]:
    """Yield the lines that are not blank. Raises `UserError` for a file that holds other JSON than lines of objects."""
    if section.start == 0:
        _refuse_other_json(section.stream.peek(_START_BYTES), path)
    yield from line_blocks(section, path)


def text_of_object(line: str, corpus: CorpusConfig, _place: str) -> tuple[str, str]:
    """Return the text of the corpus's fields in a JSON object."""
    try:
        text = text_at(_parsed(line), corpus.text_fields, "\n")
    except (ValueError, RecursionError):
        return "", "broken_json"
    return (text, "") if text is not None else ("", "no_text_field")


def _parsed(line: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python converts no integer of more than 4,300 digits; a float only loses its precision
        return json.loads(line, strict=False, parse_int=float)


def _refuse_other_json(start: bytes, path: str) -> None:
    for pattern, kind, program in (
        (_ARRAY, "a JSON array, not JSON lines", "jq -c '.[]'"),
        (_PRETTY_OBJECT, "JSON over several lines, not one object a line", "jq -c ."),
    ):
        if pattern.match(start):
            fix = f"write one object a line, for example with {program} {path} > {path}l"
            raise UserError(f"this is {kind}", place=path, fix=fix)
