"""JSON lines: each line is an object, and one or several of its fields hold the document's text."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.boundaries import RawDocument, line_blocks
from preprocessing.documents.formats.fields import text_at
from preprocessing.storage import Section

_START_BYTES = 1 << 16
_ONE_A_LINE = "jq -c ."
_UNPACK = {".gz": "gzip -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc", ".zst": "zstd -dc"}
_BEGIN = rb"(?:\xef\xbb\xbf)?[\s\x1e]*"
# How a file begins that holds other notation than lines of objects, what it is, and a program that converts it.
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(_BEGIN + rb"\[\s*(\{|\n)"), "a JSON array, not JSON lines", "jq -c '.[]'"),
    (
        re.compile(_BEGIN + rb"(?<=\x1e)\{[ \t\r]*\n"),
        "a JSON text sequence (RFC 7464) of objects over several lines",
        "tr -d '\\036' | jq -c .",
    ),
    (
        re.compile(_BEGIN + rb"\{[ \t\r]*\n"),
        "JSON over several lines, not one object a line",
        _ONE_A_LINE,
    ),
    (
        re.compile(_BEGIN + rb"\{[^\n]*\}[ \t]*,[ \t\r]*\n"),
        "objects with a comma behind each, not JSON lines",
        "sed 's/,[[:space:]]*$//'",
    ),
    (
        re.compile(_BEGIN + rb"\{\s*'"),
        "Python's notation of dictionaries, not JSON",
        "python3 -c 'import ast, json, sys; [print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]'",
    ),
)
_SEVERAL = re.compile(rb"\}[\s\x1e]*\{")  # objects of one line, or text that looks like them
_SEPARATORS = re.compile(r"[\s\x1e]*")
_NEXT = re.compile(r"[\r\x1e][\s\x1e]*(?=\{)")  # no string of JSON holds these characters
_MOST_BROKEN = 100  # objects in a line: Python counts the line ends before each error, which takes quadratic time
_DECODER = json.JSONDecoder(strict=False, parse_int=float)


def object_blocks(section: Section, path: str) -> Iterator[RawDocument]:
    """Yield the lines that are not blank, and the objects of a line that holds several.

    Objects can stand in one line because files were concatenated, because carriage returns end the lines, or in a JSON
    text sequence (RFC 7464), which has the character 1E before each. Raises `UserError` for a file that holds other
    notation than objects.
    """
    if section.start == 0:
        _refuse_other_notation(section.stream.peek(_START_BYTES), path)
    fix = f"divide the document; or if the line holds several objects, {_conversion(_ONE_A_LINE, path)}"
    for offset, line in line_blocks(section, path, fix):
        if _SEVERAL.search(line) or line.startswith(b"\x1e"):
            for block in objects_of(line):
                yield offset, block
        else:
            yield offset, line


def objects_of(line: bytes) -> Iterator[bytes]:
    """Yield the objects of a line. A broken one ends before the next separator; the last of many, with the line."""
    text = line.decode("utf-8", "surrogateescape")
    start, broken = _end_of_separators(text, 0), 0
    while start < len(text):
        try:
            end = _DECODER.raw_decode(text, start)[1]
        except (ValueError, RecursionError):
            broken += 1
            following = _NEXT.search(text, start) if broken < _MOST_BROKEN else None
            end = following.start() if following else len(text)
        begin = _end_of_separators(text, end)
        if text[begin : begin + 1] != "{":
            end = begin = len(text)
        yield text[start:end].encode("utf-8", "surrogateescape")
        start = begin


def _end_of_separators(text: str, start: int) -> int:
    found = _SEPARATORS.match(text, start)
    return found.end() if found else start


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


def _refuse_other_notation(start: bytes, path: str) -> None:
    for pattern, kind, program in _OTHERS:
        if pattern.match(start):
            raise UserError(f"this is {kind}", place=path, fix=_conversion(program, path))


def _conversion(program: str, path: str) -> str:
    """Return the fix for a file that a program converts."""
    unpack = _UNPACK.get(PurePosixPath(path).suffix.lower())
    converted = f"{path.rpartition('.')[0] if unpack else path}l"
    command = f"{unpack or 'cat'} {shlex.quote(path)} | {program} > {shlex.quote(converted)}"
    return f"write one object a line, for example with {command}"
