"""Damages of files: what disks, crashes, hands and hostile programs leave. Pure functions of bytes and a generator."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Damage = Callable[[bytes, random.Random], bytes]

HUGE = (b"9" * 30, b"-1", b"1e999", b"NaN", b"null", b"-9223372036854775809", b"0.5", b'"7"', b"true", b"[]")
NUMBER = re.compile(rb"(?<=[\s:,\[=])-?\d+(\.\d+)?(e[+-]?\d+)?(?=[\s,\]}\n])")
VALUE = re.compile(rb'(?<=[:=,\[])\s*("[^"\n]{0,200}"|true|false|null|-?\d+(\.\d+)?)')


def flip_bit(content: bytes, draw: random.Random) -> bytes:
    """Flip one bit."""
    return _changed(content, draw.randrange(len(content)), lambda byte: byte ^ (1 << draw.randrange(8)))


def flip_digit(content: bytes, draw: random.Random) -> bytes:
    """Replace one decimal digit by another."""
    places = [match.start() for match in re.finditer(rb"\d", content)]
    if not places:
        return flip_bit(content, draw)
    return _changed(content, draw.choice(places), lambda byte: ord(str((byte - 48 + draw.randint(1, 9)) % 10)))


def truncate(content: bytes, draw: random.Random) -> bytes:
    """Cut the end off."""
    return content[: draw.randrange(len(content))]


def zero(content: bytes, draw: random.Random) -> bytes:
    """Overwrite a part with NUL bytes, as a node that crashes leaves it."""
    first, last = _span(content, draw)
    return content[:first] + bytes(last - first) + content[last:]


def remove(content: bytes, draw: random.Random) -> bytes:
    """Remove a part."""
    first, last = _span(content, draw)
    return content[:first] + content[last:]


def repeat(content: bytes, draw: random.Random) -> bytes:
    """Write a part twice."""
    first, last = _span(content, draw)
    return content[:last] + content[first:]


def insert(content: bytes, draw: random.Random) -> bytes:
    """Insert bytes that are no text."""
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.randbytes(draw.randint(1, 40)) + content[place:]


def replace_number(content: bytes, draw: random.Random) -> bytes:
    """Replace one number by null, NaN, a negative one, or one beyond any range."""
    return _replaced(content, NUMBER, draw.choice(HUGE), draw)


def replace_value(content: bytes, draw: random.Random) -> bytes:
    """Replace one value of JSON or TOML by one of another type."""
    return _replaced(
        content, VALUE, draw.choice((b" null", b" {}", b" []", b" 1", b' "x"', b" -5", b' "\\ud800"')), draw
    )


def nest(content: bytes, draw: random.Random) -> bytes:
    """Replace the content by brackets that are nested deeply."""
    return draw.choice((b"[", b'{"a":')) * draw.choice((10, 100_000))


def empty(content: bytes, draw: random.Random) -> bytes:
    """Remove everything, or all but white space."""
    return draw.choice((b"", b"\n", b"{}", b"null", b"\xff\xfe\x00"))


DAMAGES: tuple[Damage, ...] = (
    flip_bit, flip_digit, truncate, zero, remove, repeat, insert, replace_number, replace_value, nest, empty,
)  # fmt: skip


def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Return the name of a damage drawn at random, and the damaged content, which differs from `content`."""
    while True:
        damage = draw.choice(DAMAGES)
        spoiled = damage(content or b"0", draw)
        if spoiled != content:
            return damage.__name__, spoiled


def _changed(content: bytes, place: int, change: Callable[[int], int]) -> bytes:
    return content[:place] + bytes([change(content[place])]) + content[place + 1 :]


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    first = draw.randrange(len(content))
    return first, min(len(content), first + draw.choice((1, 8, 100, 5_000)))


def _replaced(content: bytes, pattern: re.Pattern[bytes], value: bytes, draw: random.Random) -> bytes:
    found = list(pattern.finditer(content[:200_000]))
    if not found:
        return flip_bit(content, draw)
    match = draw.choice(found)
    return content[: match.start()] + value + content[match.end() :]
