"""Sections of files: byte ranges [start, end) of a file as stored, whose content is read from the range's beginning.

A compressed file can be cut where its units begin: bzip2 at its blocks, xz at its blocks, gzip at its members, and
Zstandard at its frames. A section then has the content of the units that begin in it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from configs.errors import UserError
from preprocessing.storage.bzip2_blocks import BLOCK_BYTES, blocks_from
from preprocessing.storage.compression import members, suffix_of
from preprocessing.storage.members import member_starts
from preprocessing.storage.pieces import Bounds, Pieces, stream_of
from preprocessing.storage.xz_blocks import contents, xz_blocks


@dataclass(frozen=True)
class Section:
    """The content of a section, and then that of the rest of the file, so that the last document can be finished.

    A document belongs to the section if it begins in the bytes [start, end) of the content. `start` is 0 for the
    section at the beginning of the file; else the stream begins one byte before `start`, which tells whether a line
    begins at `start`.
    """

    stream: io.BufferedReader[Any]
    start: int
    content_end: Callable[[], int]
    origin: str = ""  # what offsets in the content are counted from, for messages

    @property
    def end(self) -> int:
        """Known when the bytes before it were read; a larger number until then."""
        return self.content_end()


def plain_section(stream: io.BufferedReader[Any], start: int, end: int) -> Section:
    """Return a section of a file that is not compressed. The stream is at the byte before `start`, or at 0."""
    return Section(stream, start, lambda: end)


def compressed_section(stream: IO[bytes], path: str, start: int, end: int) -> Section:
    """Return a section of a compressed file, cut where `cuts_of` says, or anywhere for bzip2.

    Reading raises `UserError` where the content is damaged.
    """
    suffix = suffix_of(path)
    bounds = Bounds(end, is_exact=suffix != ".bz2")
    content = stream_of(_pieces(stream, path, suffix, start), stream, path, bounds)
    # The byte before a section is not known. So a document that begins at a section's first byte, which continues what
    # the section before ends with, belongs to that one.
    origin = f" of the content from stored byte {start} on" if start else ""
    return Section(content, min(start, 1), lambda: min(sys.maxsize, bounds.content_end + 1), origin)


def cuts_of(stream: IO[bytes], path: str, places: Sequence[int]) -> list[int]:
    """Return where to cut a compressed file near the `places`, which ascend; none if it is one unit, or damaged.

    A cut of a bzip2 file can be anywhere, but not two of them in one block.
    """
    suffix = suffix_of(path)
    if suffix == ".bz2":
        return _apart(places, BLOCK_BYTES)
    if suffix != ".xz":
        return member_starts(stream, path, suffix, places)
    try:
        starts = [block.start for block in xz_blocks(stream, path, stream.seek(0, os.SEEK_END))][1:]
    except UserError:  # reading will raise it
        return []
    chosen = (next((start for start in starts if start >= place), None) for place in places)
    return list(dict.fromkeys(start for start in chosen if start is not None))


def _apart(places: Sequence[int], distance: int) -> list[int]:
    chosen = [0]
    for place in places:
        if place - chosen[-1] >= distance:
            chosen.append(place)
    return chosen[1:]


def _pieces(stream: IO[bytes], path: str, suffix: str, start: int) -> Pieces:
    if suffix == ".bz2":
        return blocks_from(stream, path, start)
    if suffix == ".xz":
        blocks = xz_blocks(stream, path, stream.seek(0, os.SEEK_END))
        return contents(stream, path, [block for block in blocks if block.start >= start])
    stream.seek(start)
    return members(stream, path, suffix, start=start)
