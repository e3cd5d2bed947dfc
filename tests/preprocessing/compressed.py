"""Compressed files of several units, as the programs write them that compress in several threads."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Sequence

import zstandard

FRAME = zstandard.ZstdCompressor(write_checksum=True)  # as the program zstd does


def xz_of_blocks(parts: Sequence[bytes]) -> bytes:
    """Return an xz file of one stream with a block for each part, as `xz -T` writes it."""
    single = [lzma.compress(part, check=lzma.CHECK_CRC64) for part in parts]
    blocks, records = [], bytearray()
    for stream, part in zip(single, parts, strict=True):
        index_bytes = 4 * (int.from_bytes(stream[-8:-4], "little") + 1)
        block = stream[12 : len(stream) - 12 - index_bytes]
        index = stream[len(stream) - 12 - index_bytes :]
        unpadded, place = _number(index, 2)
        records += _coded(unpadded) + _coded(len(part))
        assert _number(index, place)[0] == len(part)
        blocks.append(block)
    index = b"\0" + _coded(len(parts)) + bytes(records)
    index += bytes(-len(index) % 4)
    index += _checksum(index)
    size_and_flags = (len(index) // 4 - 1).to_bytes(4, "little") + single[0][6:8]
    return single[0][:12] + b"".join(blocks) + index + _checksum(size_and_flags) + size_and_flags + b"YZ"


def _number(content: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (content[place] & 0x7F) << shift
        shift, place = shift + 7, place + 1
        if not content[place - 1] & 0x80:
            return number, place


def _coded(number: int) -> bytes:
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*coded, number])


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little")


def _joined(compress: Callable[[bytes], bytes]) -> Callable[[Sequence[bytes]], bytes]:
    return lambda parts: b"".join(map(compress, parts))


# By suffix, functions that compress each part of a content as a unit of its own.
IN_UNITS: dict[str, Callable[[Sequence[bytes]], bytes]] = {
    ".bz2": _joined(bz2.compress),
    ".gz": _joined(gzip.compress),
    ".xz": xz_of_blocks,
    ".zst": _joined(FRAME.compress),
}
