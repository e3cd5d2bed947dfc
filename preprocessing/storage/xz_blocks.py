"""xz from the middle of a file: the index at the end of each stream tells where its blocks are.

See "The .xz File Format", version 1.2.1. Programs that compress in several threads write several blocks.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from preprocessing.storage.compression import XZ_MEMORY_BYTES
from preprocessing.storage.pieces import Pieces, damaged, truncated

_HEADER_BYTES = _FOOTER_BYTES = 12
_HEADER_MAGIC, _FOOTER_MAGIC = b"\xfd7zXZ\0", b"YZ"
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class XzBlock:
    """A block: its offset and size in the file, the size of its content, and the header of its stream."""

    start: int
    size: int
    content_bytes: int
    header: bytes


def xz_blocks(stream: IO[bytes], path: str, size: int) -> list[XzBlock]:
    """Return the blocks of a file of `size` bytes, in order. Raises `UserError` for damaged indexes."""
    blocks: list[XzBlock] = []
    end = size
    while end:
        end, of_stream = _blocks_of_stream(stream, path, _without_padding(stream, end))
        blocks[:0] = of_stream
    return blocks


def contents(stream: IO[bytes], path: str, blocks: list[XzBlock]) -> Pieces:
    """Yield the contents of blocks, in pieces, each with its block's offset. Raises `UserError` for a damaged block."""
    for block in blocks:
        stream.seek(block.start)
        size = 0
        for content in _decoded(stream, path, block):
            size += len(content)
            yield block.start, content
        if size != block.content_bytes:
            raise damaged(path, f"the block at byte {block.start} has another size than the index states")


def _decoded(stream: IO[bytes], path: str, block: XzBlock) -> Iterator[bytes]:
    """Yield the content of a block. The decoder checks it, since it takes it for the first block of a stream."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
    left = block.size
    data = block.header
    while data or left:
        if decoder.needs_input:
            more = stream.read(min(left, _READ_BYTES))
            if left and not more:
                raise truncated(path)
            left -= len(more)
            data += more
        try:
            yield decoder.decompress(data, 4 * _READ_BYTES)
        except lzma.LZMAError as error:
            raise damaged(path, str(error)) from error
        data = b""
    while not decoder.needs_input:
        yield decoder.decompress(b"", 4 * _READ_BYTES)


def _without_padding(stream: IO[bytes], end: int) -> int:
    """Return the end of the stream before these bytes: zeros between streams are padding."""
    while end >= 4:
        stream.seek(end - 4)
        if stream.read(4) != bytes(4):
            break
        end -= 4
    return end


def _blocks_of_stream(stream: IO[bytes], path: str, end: int) -> tuple[int, list[XzBlock]]:
    """Return the offset at which the stream begins that ends here, and its blocks."""
    footer = _read(stream, path, end - _FOOTER_BYTES, _FOOTER_BYTES)
    index_end = end - _FOOTER_BYTES
    index_bytes = 4 * (int.from_bytes(footer[4:8], "little") + 1)
    if footer[10:] != _FOOTER_MAGIC or zlib.crc32(footer[4:10]) != int.from_bytes(footer[:4], "little"):
        raise damaged(path, f"no xz stream ends at byte {end}")
    sizes = _parse_index(_read(stream, path, index_end - index_bytes, index_bytes), path)
    first = index_end - index_bytes - sum(-size % 4 + size for size, _ in sizes)
    header = _read(stream, path, first - _HEADER_BYTES, _HEADER_BYTES)
    if header[:8] != _HEADER_MAGIC + footer[8:10]:
        raise damaged(path, f"no xz stream begins at byte {first - _HEADER_BYTES}")
    blocks = []
    start = first
    for size, content_bytes in sizes:
        blocks.append(XzBlock(start, -size % 4 + size, content_bytes, header))
        start += -size % 4 + size
    return first - _HEADER_BYTES, blocks


def _parse_index(index: bytes, path: str) -> list[tuple[int, int]]:
    """Return the unpadded size of each block, and the size of its content."""
    if index[:1] != b"\0" or zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        raise damaged(path, "the index of an xz stream")
    numbers = _numbers(index[1:-4])
    count = next(numbers)
    return [(next(numbers), next(numbers)) for _ in range(count)]


def _numbers(content: bytes) -> Iterator[int]:
    """Yield the numbers, of 7 bits a byte, the lowest bits first; the last byte of each has no highest bit."""
    number = shift = 0
    for byte in content:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number
            number = shift = 0


def _read(stream: IO[bytes], path: str, start: int, size: int) -> bytes:
    if start < 0:
        raise damaged(path, "an xz stream is longer than the file")
    stream.seek(start)
    content = stream.read(size)
    if len(content) < size:
        raise truncated(path)
    return content
