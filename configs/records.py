"""Read what a program wrote earlier, and what a crash, a disk or a hand can have damaged.

`parse_object` is strict: it is for what training depends on. `parse_line` is for records that only describe a run: it
returns None for a damaged line, so that the caller can leave it out and count it. `sealed` is for text that can be
cut, and still be a valid, smaller text: a TOML file.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from typing import Any

CHECK = "check"  # the last key of a line written by `record_line`: the CRC-32 of the line without it


SEALED = "# As bertrain wrote it: the last line is the SHA-256 of the lines above it.\n"
SEAL = "# bertrain, SHA-256: "


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in `content`. Raises `ValueError` for anything else, NaN and infinity included."""
    try:
        value = json.loads(content.decode(), parse_constant=_refuse, parse_float=_finite)
        if b"\\u" in content:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    except UnicodeError:
        raise ValueError("not UTF-8 text") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def record_line(record: dict[str, Any]) -> str:
    """Return a record as one line of JSON, without a line break, with a checksum as its last key."""
    return with_checksum(json.dumps(record, allow_nan=False))


def with_checksum(text: str) -> str:
    """Return a JSON object that is not empty, with a checksum as its last key."""
    return f'{text[:-1]}, "{CHECK}": "{_checksum(text.encode())}"}}'


def without_checksum(line: bytes) -> bytes | None:
    """Return what `with_checksum` received, given its result; None if that is damaged."""
    text, _, _ = line.rpartition(f', "{CHECK}"'.encode())
    whole = text + b"}"
    return whole if line.rstrip(b"\n") == text + f', "{CHECK}": "{_checksum(whole)}"}}'.encode() else None


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the record of one complete line, without its checksum; None if the line is damaged.

    A line without a checksum, which an earlier version wrote, is returned if it is a JSON object.
    """
    if not line.endswith(b"\n"):
        return None
    try:
        record = parse_object(line)
    except ValueError:
        return None
    check = record.pop(CHECK, None)
    if check is None:
        return record
    text, _, _ = line.rpartition(f', "{CHECK}"'.encode())
    return record if check == _checksum(text + b"}") else None


def sealed(text: str) -> str:
    """Return text whose lines can start with `#` as comments, with a first and a last line that prove it."""
    text = SEALED + text
    return f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"


def is_seal_broken(text: str) -> bool:
    """Return whether text that `sealed` returned was changed since, or is empty.

    Text without both lines was written by hand, or by an earlier version, and has no seal to break.
    """
    if SEAL not in text and not text.startswith(SEALED):
        return SEALED.startswith(text.strip())
    return text.strip() != sealed(text.rpartition(SEAL)[0].removeprefix(SEALED)).strip()


def _checksum(text: bytes) -> str:
    return f"{zlib.crc32(text):08x}"


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value
