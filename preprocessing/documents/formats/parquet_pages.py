"""The sizes of a Parquet column's pages, read from the page headers because pyarrow does not report them.

A header is a struct in Thrift's compact protocol: fields, each a key byte and a value, up to a zero byte. In a page
header, field 2 is the decompressed size and field 3 is the stored size (parquet.thrift, `PageHeader`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_UNPACKED, _STORED = 2, 3
_TRUE, _FALSE, _BYTE, _INTS, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, 12


def page_sizes(stream: BinaryIO, begin: int, end: int) -> Iterator[int]:
    """Yield the decompressed size in bytes of each page between two offsets. Raises `ValueError` for a bad header."""
    while begin < end:
        stream.seek(begin)
        header = _struct(stream)
        unpacked, stored = header.get(_UNPACKED, -1), header.get(_STORED, -1)
        if unpacked < 0 or stored < 0:
            raise ValueError(f"no page begins at byte {begin}")
        yield unpacked
        begin = stream.tell() + stored


def _struct(stream: BinaryIO) -> dict[int, int]:
    """Return the integer fields of a struct, by field number. Other fields are skipped."""
    numbers: dict[int, int] = {}
    field = 0
    while key := _byte(stream):
        field = field + (key >> 4) if key >> 4 else _number(stream)
        kind = key & 15
        if kind in _INTS:
            numbers[field] = _number(stream)
        else:
            _skip(stream, kind)
    return numbers


def _skip(stream: BinaryIO, kind: int) -> None:
    if kind == _STRUCT:
        _struct(stream)
    elif kind == _BINARY:
        stream.read(_varint(stream))
    elif kind in (_BYTE, _DOUBLE):
        stream.read(1 if kind == _BYTE else 8)
    elif kind not in (_TRUE, _FALSE):  # the key holds these values
        raise ValueError(f"a page's header has a field of kind {kind}")


def _number(stream: BinaryIO) -> int:
    """Read a zigzag-encoded integer: 0, -1, 1, -2 …"""
    value = _varint(stream)
    return value >> 1 ^ -(value & 1)


def _varint(stream: BinaryIO) -> int:
    """Read a variable-length integer: seven bits per byte, lowest bits first."""
    value = shift = 0
    while (byte := _byte(stream)) & 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
    return value | byte << shift


def _byte(stream: BinaryIO) -> int:
    byte = stream.read(1)
    if not byte:
        raise ValueError("the file ends inside a page header")
    return byte[0]
