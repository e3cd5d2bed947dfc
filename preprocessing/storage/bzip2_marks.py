"""The marks in bzip2 files: 48 bits, at any bit, where a block begins and where a stream ends."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 0x314159265359
END = 0x177245385090  # of a stream; its checksum follows
MARK_BITS = 48
_BYTES = 7  # those that a mark can touch


def marks_in(content: bytes | bytearray, start: int, end: int) -> list[int]:
    """Return the bit offsets of all marks that begin in the bytes [start, end) and are complete, ascending."""
    return sorted(bit for shift in range(8) for mark in (BLOCK, END) for bit in _find(content, start, end, mark, shift))


def _find(content: bytes | bytearray, start: int, end: int, mark: int, shift: int) -> Iterator[int]:
    """Yield the bit offsets of a mark that begin `shift` bits into a byte. Whole bytes are searched for, then bits."""
    touched = (mark << 8 - shift).to_bytes(_BYTES)
    whole = touched[1:6]
    first, last = 0xFF >> shift, 0xFF << 8 - shift & 0xFF
    found = content.find(whole, start + 1, end + len(whole))
    while found >= 0:
        after = content[found + 5] if found + 5 < len(content) else 0
        if content[found - 1] & first == touched[0] and (after & last == touched[6]):
            yield 8 * (found - 1) + shift
        found = content.find(whole, found + 1, end + len(whole))
