"""Find the members (gzip) and frames (Zstandard) of compressed files, which can be decompressed from their beginning.

Their signatures also occur by chance. So what follows one must decompress, up to the checksum of a short member. The
reader of the section before checks, in addition, that a member begins where its section ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from configs.errors import UserError
from preprocessing.storage.compression import members

_SIGNATURES = {".gz": b"\x1f\x8b\x08", ".zst": b"\x28\xb5\x2f\xfd"}
_READ_BYTES = 1 << 20
_TRIAL_BYTES = 1 << 20  # of content, which no chance decompresses


def member_starts(stream: IO[bytes], path: str, suffix: str, places: Sequence[int]) -> list[int]:
    """Return the offsets of the first members that begin at or after the `places`, which ascend. Each is named once."""
    found: list[int] = []
    for place in places:
        if not found or found[-1] < place:
            start = next(_starts_from(stream, path, suffix, place), None)
            if start is None:
                break
            found.append(start)
    return found


def _starts_from(stream: IO[bytes], path: str, suffix: str, place: int) -> Iterator[int]:
    signature = _SIGNATURES[suffix]
    base, window = place, b""
    while True:
        stream.seek(base + len(window))
        more = stream.read(_READ_BYTES)
        if not more:
            return
        window += more
        found = window.find(signature)
        while found >= 0:
            if _is_member(stream, path, suffix, base + found):
                yield base + found
            found = window.find(signature, found + 1)
        kept = min(len(window), len(signature) - 1)
        base, window = base + len(window) - kept, window[len(window) - kept :]


def _is_member(stream: IO[bytes], path: str, suffix: str, start: int) -> bool:
    stream.seek(start)
    size = 0
    try:
        for member, content in members(stream, path, suffix, start=start):
            size += len(content)
            if member != start or size > _TRIAL_BYTES:
                break
    except UserError:
        return False
    return True
