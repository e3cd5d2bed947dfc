"""Document boundaries: line ends of every system, concatenated files, spans cut at any byte."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from preprocessing.documents.formats import boundaries
from preprocessing.documents.formats.boundaries import RawDocument, file_blocks, line_blocks, text_blocks
from preprocessing.storage import Section, plain_section

Reader = Callable[[Section, str], Iterator[RawDocument]]


def read(reader: Reader, content: bytes, cuts: tuple[int, ...] = ()) -> list[RawDocument]:
    """Return the blocks of a file that is cut into spans at these bytes."""
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(content)}), len(content)]
    found: list[RawDocument] = []
    for start, end in pairwise(bounds):
        stream = io.BufferedReader(io.BytesIO(content))
        stream.seek(max(0, start - 1))
        found += reader(plain_section(stream, start, end), "a.txt")
    return found


def test_blocks_have_their_offsets() -> None:
    assert read(text_blocks, b"\n\none\ntwo\n \n\nthree") == [(2, b"one\ntwo\n"), (13, b"three")]
    assert read(line_blocks, b"\n{1}\n \n{2}") == [(1, b"{1}\n"), (7, b"{2}")]
    assert read(file_blocks, b"one\n\ntwo") == [(0, b"one\n\ntwo")]


def test_lone_carriage_returns_end_lines() -> None:
    assert [block for _, block in read(text_blocks, b"one\rstill\r\rtwo\r")] == [b"one\nstill\n", b"two\n"]
    assert [block for _, block in read(text_blocks, b"one\r\nstill\r\n\r\ntwo\r\n")] == [
        b"one\r\nstill\r\n",
        b"two\r\n",
    ]


def test_doubled_line_ends_do_not_separate_documents() -> None:
    assert [block for _, block in read(text_blocks, b"one\r\r\nstill\r\r\n")] == [b"one\nstill\n"]


BLANKS = ["\u3000", "\xa0", "\u2003 \u3000", "\x1c", "\u2028", "\x85", " \u3000\u3000\r"]


@pytest.mark.parametrize("blank", BLANKS)
def test_a_line_of_unicode_blanks_separates_documents_as_in_google_s_script(blank: str) -> None:
    content = f"一\n二\n{blank}\n三\n".encode()
    assert [block.decode() for _, block in read(text_blocks, content)] == ["一\n二\n", "三\n"]
    assert [block.decode() for _, block in read(line_blocks, content)] == ["一\n", "二\n", "三\n"]


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff\u200b", "\xad"])
def test_a_line_of_invisible_characters_is_not_blank(mark: str) -> None:
    assert len(read(text_blocks, f"一\n{mark}\n三\n".encode())) == 1  # str.strip keeps them


PIECES = st.sampled_from(
    [b"a", b"bb", b"\n", b"\n\n", b"\r", b"\r\r", b"\r\n", b" ", b"\xef\xbb\xbf", b"\xc3\xa9", b"\xe3\x80\x80"]
)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.lists(st.integers(0, 80), max_size=5))
def test_each_block_is_read_once_for_all_cuts(content: bytes, cuts: list[int]) -> None:
    for reader in (text_blocks, line_blocks):
        assert read(reader, content, tuple(cuts)) == read(reader, content)


def visible(content: bytes) -> str:
    """The characters that are neither white space nor byte order marks."""
    return "".join(content.decode().replace("\ufeff", "").split())


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_only_white_space_and_byte_order_marks_are_lost(content: bytes) -> None:
    for reader in (text_blocks, line_blocks):
        given_back = b"".join(block for _, block in read(reader, content))
        assert visible(given_back) == visible(content)


def test_byte_order_marks_of_concatenated_files_are_removed() -> None:
    joined = b"\xef\xbb\xbfone\n\n\xef\xbb\xbftwo\n"
    assert read(text_blocks, joined) == [(0, b"one\n"), (8, b"two\n")]
    assert [block for _, block in read(line_blocks, joined)] == [b"one\n", b"two\n"]


@pytest.mark.parametrize("reader", [text_blocks, line_blocks, file_blocks])
def test_oversized_document_is_an_error(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundaries, "MAX_DOCUMENT_BYTES", 100)
    monkeypatch.setattr(boundaries, "_READ_BYTES", 10)
    assert read(reader, b"x" * 100) == [(0, b"x" * 100)]
    with pytest.raises(UserError, match="a document is larger than") as raised:
        read(reader, b"x" * 101)
    assert raised.value.place == "a.txt, byte 0"
    assert len(read(line_blocks, (b"x" * 50 + b"\n") * 3)) == 3  # the corpus's format is corrected


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_a_document_of_very_short_lines_takes_little_memory(line_end: bytes) -> None:
    content = (b"a" + line_end) * 500_000
    tracemalloc.start()
    try:
        assert len(read(text_blocks, content)) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(content)
