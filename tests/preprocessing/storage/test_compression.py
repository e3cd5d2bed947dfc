"""Each compression format returns the content of all members; truncated or damaged files are errors."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tracemalloc
from collections import deque
from collections.abc import Callable

import pytest
import zstandard

from configs.errors import UserError
from preprocessing.storage import pieces
from preprocessing.storage.compression import compression_of, decompressed, is_compressed

TEXT = " ".join(str(number) for number in random.Random(1).choices(range(10_000), k=60_000)).encode()
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "a.gz": gzip.compress,
    "a.bz2": bz2.compress,
    "a.xz": lzma.compress,
    "a.zst": zstandard.ZstdCompressor().compress,
}
each_format = pytest.mark.parametrize(("name", "compress"), COMPRESS.items())


def read(content: bytes, name: str) -> bytes:
    with decompressed(io.BytesIO(content), name) as stream:
        return stream.read()


@each_format
def test_content_is_decompressed(name: str, compress: Callable[[bytes], bytes]) -> None:
    assert read(compress(TEXT), name) == TEXT
    assert read(compress(b""), name) == b""


@each_format
def test_all_members_are_read(name: str, compress: Callable[[bytes], bytes]) -> None:
    members = [TEXT[start : start + 70_000] for start in range(0, len(TEXT), 70_000)]
    assert len(members) > 3
    assert read(b"".join(map(compress, members)), name) == TEXT


@each_format
def test_lines_are_read_across_members(name: str, compress: Callable[[bytes], bytes]) -> None:
    with decompressed(io.BytesIO(compress(b"one\ntw") + compress(b"o\nthree")), name) as stream:
        assert list(stream) == [b"one\n", b"two\n", b"three"]


@each_format
def test_padding_of_zeros_ends_the_file(name: str, compress: Callable[[bytes], bytes]) -> None:
    assert read(compress(TEXT) + bytes(1_000), name) == TEXT


@each_format
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.999])
def test_truncated_file_is_an_error(name: str, compress: Callable[[bytes], bytes], kept: float) -> None:
    content = compress(TEXT)
    with pytest.raises(UserError, match="truncated") as raised:
        read(content[: int(kept * len(content))], name)
    assert raised.value.place == name


@each_format
def test_truncated_second_member_is_an_error(name: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UserError, match=r"truncated|damaged"):
        read(compress(TEXT) + compress(TEXT)[:-20], name)


@each_format
def test_damaged_file_is_an_error(name: str, compress: Callable[[bytes], bytes]) -> None:
    content = bytearray(compress(TEXT))
    for place in range(len(content) // 2, len(content) // 2 + 40):
        content[place] ^= 0x5A
    with pytest.raises(UserError, match=r"damaged|truncated"):
        read(bytes(content), name)


@each_format
def test_bytes_after_a_member_are_a_member_or_an_error(name: str, compress: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UserError, match=r"damaged|truncated"):
        read(compress(TEXT) + b"and this is no member at all", name)


def test_file_of_another_compression_format_is_an_error() -> None:
    with pytest.raises(UserError, match="damaged"):
        read(b"plain text, whatever its name says", "a.gz")


@pytest.mark.parametrize("name", ["a.txt", "gz", "a.gz.txt", "bz2/a"])
def test_other_suffixes_are_not_compressed(name: str) -> None:
    assert not is_compressed(name)


@pytest.mark.parametrize("name", [*COMPRESS, "A.XML.BZ2", "s3://bucket/a.json.gz"])
def test_suffixes_that_are_compressed(name: str) -> None:
    assert is_compressed(name)


LINES = b"the same line again and again\n" * 40_000


@each_format
def test_decompression_bomb_is_an_error(
    name: str, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_EXPANSION_COUNTS_FROM_BYTES", 1 << 19)
    monkeypatch.setattr(pieces, "_MOST_EXPANSION", 20)
    assert read(compress(TEXT), name) == TEXT
    with pytest.raises(UserError, match="expands to more than 20 times") as raised:
        read(compress(LINES), name)
    assert raised.value.place == name


def test_decompression_bomb_does_not_fill_the_memory() -> None:
    """Zstandard packs a gigabyte of zeros into 32 kB. Its decoder has no output limit, so it gets small slices."""
    content = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    with decompressed(io.BytesIO(content), "a.zst") as stream:
        tracemalloc.start()
        with pytest.raises(UserError, match="expands to more than"):
            deque(iter(lambda: stream.read(1 << 20), b""), maxlen=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 26


def test_xz_that_needs_too_much_memory_is_an_error() -> None:
    content = lzma.compress(TEXT, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST}])
    with pytest.raises(UserError, match="damaged"):
        read(content, "a.xz")


@each_format
def test_the_format_is_known_by_the_first_bytes(name: str, compress: Callable[[bytes], bytes]) -> None:
    suffix = compression_of(compress(TEXT))
    assert name.endswith(suffix)
    with decompressed(io.BytesIO(compress(TEXT)), "a.csv", suffix) as stream:
        assert stream.read() == TEXT
    assert compression_of(TEXT) == compression_of(b"") == ""


def test_frames_without_content_are_skipped() -> None:
    frame = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"info"
    content = frame + zstandard.compress(TEXT) + frame
    assert (compression_of(content), read(content, "a.zst")) == (".zst", TEXT)
