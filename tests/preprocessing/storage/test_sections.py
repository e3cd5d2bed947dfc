"""Sections of compressed files: together they have the content once, wherever the file is cut; damage is an error."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings, strategies as st

from configs.errors import UserError
from preprocessing.storage.bzip2_marks import BLOCK, END, marks_in
from preprocessing.storage.sections import compressed_section, cuts_of
from tests.preprocessing.compressed import FRAME, xz_of_blocks

RANDOM = random.Random(5)
TEXT = " ".join(str(number) for number in RANDOM.choices(range(10_000), k=120_000)).encode()  # 580 kB
PARTS = [TEXT[start : start + 70_000] for start in range(0, len(TEXT), 70_000)]
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"info"


def joined(compress: Callable[[bytes], bytes]) -> bytes:
    return b"".join(map(compress, PARTS))


# The blocks of a bzip2 stream of level 1 hold 100,000 bytes.
FILES = {
    "one stream.bz2": bz2.compress(TEXT, 1),
    "several streams.bz2": bz2.compress(TEXT[:250_000], 1) + bz2.compress(b"") + bz2.compress(TEXT[250_000:], 1),
    "members.gz": joined(gzip.compress),
    "blocks.xz": xz_of_blocks(PARTS),
    "streams.xz": joined(lzma.compress) + bytes(8),
    "frames.zst": joined(FRAME.compress),
    "described frames.zst": SKIPPABLE.join([b"", *map(FRAME.compress, PARTS), b""]),
}
each_file = pytest.mark.parametrize("name", FILES)


def section(name: str, content: bytes, start: int, end: int = sys.maxsize) -> tuple[bytes, int]:
    """Return what a section's stream holds, and where the section ends in it."""
    found = compressed_section(io.BytesIO(content), name, start, end)
    with found.stream:
        text = found.stream.read()
        return text, min(len(text), found.end - 1)


def test_the_blocks_of_an_xz_file_are_made_as_xz_makes_them() -> None:
    assert lzma.decompress(FILES["blocks.xz"]) == TEXT


@each_file
def test_sections_hold_the_content_once_for_cuts_at_every_unit(name: str) -> None:
    content = FILES[name]
    starts = cuts_of(io.BytesIO(content), name, range(1, len(content), 50)) if not name.endswith("bz2") else []
    bounds = [0, *(starts or range(2_000, len(content), 2_000)), len(content)]
    assert len(bounds) > 7
    parts = [section(name, content, start, end) for start, end in pairwise(bounds)]
    assert b"".join(text[:end] for text, end in parts) == TEXT
    assert all(TEXT.endswith(text) for text, _ in parts)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["one stream.bz2", "several streams.bz2"]), st.lists(st.integers(1, 1 << 20), max_size=5))
def test_bzip2_files_can_be_cut_at_any_byte(name: str, drawn: list[int]) -> None:
    content = FILES[name]
    bounds = [0, *sorted({cut % len(content) for cut in drawn} - {0}), len(content)]
    parts = [section(name, content, start, end) for start, end in pairwise(bounds)]
    assert b"".join(text[:end] for text, end in parts) == TEXT


@each_file
def test_cuts_are_near_the_places(name: str) -> None:
    content = FILES[name]
    half = len(content) // 2
    found = cuts_of(io.BytesIO(content), name, [half, half + 1])
    assert found == [] if name.endswith("bz2") else half <= found[0] < half + len(content) // 5
    assert cuts_of(io.BytesIO(content), name, [len(content) - 1]) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gz", gzip.compress(TEXT)),
        ("a.xz", lzma.compress(TEXT)),
        ("a.zst", zstandard.compress(TEXT)),
        ("a.xz", b"\xfd7zXZ\0 damaged"),
        ("a.gz", b"\x1f\x8b\x08 damaged" * 9),
    ],
)
def test_a_file_of_one_unit_has_no_cuts(name: str, content: bytes) -> None:
    assert cuts_of(io.BytesIO(content), name, [5, 10, len(content) // 2]) == []


def test_cuts_of_bzip2_files_are_a_block_apart() -> None:
    assert cuts_of(io.BytesIO(b""), "a.bz2", [500_000, 1_000_000, 1_500_000, 2_000_000]) == [1_000_000, 2_000_000]


def test_signatures_inside_a_member_are_no_cuts() -> None:
    """Bytes that do not get shorter are stored as they are, also those of a signature."""
    noise = RANDOM.randbytes(50_000)
    inside = gzip.compress(noise + b"\x1f\x8b\x08\0" + noise, 0)
    content = inside + gzip.compress(TEXT)
    assert cuts_of(io.BytesIO(content), "a.gz", [1]) == [len(inside)]


def test_a_section_that_ends_inside_a_member_is_refused() -> None:
    """A complete member can stand inside another one. No cut there loses or repeats text: it is an error."""
    inner = gzip.compress(TEXT[:9_000])
    content = gzip.compress(TEXT[:2_000] + inner + inner + TEXT[:2_000], 0)
    cut = content.index(inner)
    assert cuts_of(io.BytesIO(content), "a.gz", [1]) == [cut]
    with pytest.raises(UserError, match="is none"):
        section("a.gz", content, 0, cut)
    with pytest.raises(UserError, match="is none"):
        section("a.gz", content + gzip.compress(TEXT), 0, cut)


def test_marks_inside_a_bzip2_block_are_no_blocks() -> None:
    """The content of a block is arbitrary bits, which can look like a mark. Here, they are in what follows a stream."""
    content = FILES["one stream.bz2"]
    starts = marks_in(content, 0, len(content))
    false = bytearray(content)
    middle = starts[1] // 8 + 5_000  # of a block
    false[middle : middle + 6] = BLOCK.to_bytes(6)
    with pytest.raises(UserError, match="damaged"):
        section("a.bz2", bytes(false), 0)
    text, _ = section("a.bz2", bytes(false), middle - 100)
    assert TEXT.endswith(text)
    assert text == section("a.bz2", content, starts[2] // 8)[0]


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("mark", [BLOCK, END])
def test_marks_are_found_at_every_bit(mark: int, shift: int) -> None:
    content = bytes(9) + (mark << 16 - shift).to_bytes(8) + bytes(9)
    assert marks_in(content, 0, len(content)) == [8 * 9 + shift]
    assert marks_in(content, 10, len(content)) == marks_in(content, 0, 9) == []


@each_file
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_truncated_file_is_an_error(name: str, kept: float) -> None:
    content = FILES[name]
    kept_bytes = content[: int(kept * len(content.rstrip(b"\0")))]
    if name.endswith("described frames.zst"):
        kept_bytes = content[: int(kept * (len(content) - 12))]
    with pytest.raises(UserError, match=r"truncated|damaged"):
        section(name, kept_bytes, 0, len(content))


@each_file
def test_damaged_file_is_an_error(name: str) -> None:
    content = bytearray(FILES[name])
    for place in range(len(content) // 2, len(content) // 2 + 40):
        content[place] ^= 0x5A
    with pytest.raises(UserError, match="damaged"):
        section(name, bytes(content), 0, len(content))


@each_file
def test_bytes_after_the_last_unit_are_an_error(name: str) -> None:
    with pytest.raises(UserError, match=r"damaged|truncated"):
        section(name, FILES[name] + b"and this is no unit at all", 0, len(FILES[name]))


def test_a_stream_without_one_of_its_blocks_is_an_error() -> None:
    """Each block has its own checksum; that of the stream shows that one is missing."""
    content = FILES["one stream.bz2"]
    bits = int.from_bytes(content)
    size = 8 * len(content)
    first, second = marks_in(content, 0, len(content))[1:3]
    rest = size - second
    shorter = (bits >> size - first) << rest | bits & (1 << rest) - 1
    padding = -(first + rest) % 8
    with pytest.raises(UserError, match="checksum"):
        section("a.bz2", (shorter << padding).to_bytes((first + rest + padding) // 8), 0)


def test_memory_is_bounded_for_zeros_behind_a_stream() -> None:
    """Tapes and disks pad files with zeros."""
    content = FILES["one stream.bz2"]
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.truncate(1 << 26)
        found = compressed_section(stream, "a.bz2", len(content), 1 << 26)
        assert found.stream.read() == b""
    assert section("a.bz2", content + bytes(1_000_000), 0)[0] == TEXT
