"""Parquet rows are read once for all cuts, in bounded memory; columns without text are errors."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.parquet import parquet_rows
from preprocessing.documents.input_files import ReadCounter


def write(path: Path, texts: Any, kind: pa.DataType | None = None, **options: Any) -> Path:
    column = texts if isinstance(texts, pa.Array) else pa.array(texts, kind or pa.string())
    others = {"id": pa.array(range(len(column))), "nested": pa.array([{"a": 1, "b": [2]}] * len(column))}
    pq.write_table(pa.table({**others, "text": column}), path, **options)
    return path


def rows(path: Path, start: int = 0, end: int = 1 << 40, *fields: str) -> Iterator[tuple[int, bytes | None]]:
    """The number and the text of each row."""
    corpus = CorpusConfig(paths=[str(path)], format="parquet", text_field=list(fields) or "text")
    for place, text in parquet_rows(str(path), start, end, corpus, ReadCounter()):
        yield int(place.removeprefix(f"{path}, row ")), None if isinstance(text, str) else text


def read(path: Path, cuts: tuple[int, ...] = (), column: str = "text") -> list[tuple[int, bytes | None]]:
    size = path.stat().st_size
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < size}), size]
    return [row for start, end in pairwise(bounds) for row in rows(path, start, end, column)]


@given(st.lists(st.text(max_size=30) | st.none(), max_size=20), st.integers(1, 7), st.data())
def test_rows_are_read_once_for_all_cuts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], group_rows: int, data: st.DataObject
) -> None:
    path = write(tmp_path_factory.mktemp("cut") / "a.parquet", texts, row_group_size=group_rows)
    cuts = tuple(data.draw(st.lists(st.integers(0, path.stat().st_size), max_size=4)))
    expected = [(row, None if text is None else text.encode()) for row, text in enumerate(texts)]
    assert read(path, cuts) == expected


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_compressed_and_dictionary_columns_are_read(tmp_path: Path, compression: str, use_dictionary: bool) -> None:
    texts = ["one", "two", "one"] * 500
    path = write(tmp_path / "a.parquet", texts, compression=compression, use_dictionary=use_dictionary)
    assert [text for _, text in read(path)] == [text.encode() for text in texts]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_all_text_column_types_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    assert read(write(tmp_path / "a.parquet", pa.array(["one", None, "two"]).cast(kind))) == [
        (0, b"one"), (1, None), (2, b"two"),
    ]  # fmt: skip


def test_invalid_utf8_is_passed_on(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"bro\xffken"]).buffers())
    assert read(write(tmp_path / "a.parquet", broken)) == [(0, b"bro\xffken")]


def test_row_group_is_read_page_by_page(tmp_path: Path) -> None:
    texts = [f"{row} " * 2_000 for row in range(4_000)]
    path = write(tmp_path / "a.parquet", texts, compression="zstd", use_dictionary=False, write_batch_size=64)
    assert pq.ParquetFile(path).num_row_groups == 1
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in rows(path))
    assert most < sum(map(len, texts)) / 4


def test_long_rows_are_read_in_small_batches(tmp_path: Path) -> None:
    texts = [f"{row} " * 500_000 for row in range(64)]
    path = write(tmp_path / "a.parquet", texts, compression="zstd", use_dictionary=False, write_batch_size=1)
    assert pq.ParquetFile(path).num_row_groups == 1
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() - before for _ in rows(path))
    assert most < sum(map(len, texts)) * 0.6  # about 16 MiB as Arrow and as binary, of 93 MB


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_oversized_page_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_dictionary: bool) -> None:
    texts = [f"{row} " * 60_000 for row in range(20)]
    path = write(tmp_path / "a.parquet", texts, use_dictionary=use_dictionary)
    monkeypatch.setattr("preprocessing.documents.formats.parquet._MOST_PAGE_BYTES", 1 << 22)
    assert len(read(path)) == 20
    monkeypatch.setattr("preprocessing.documents.formats.parquet._MOST_PAGE_BYTES", 1 << 20)
    with pytest.raises(UserError, match="a page decompresses to 2 MiB, more than the limit of 1 MiB") as raised:
        read(path)
    assert (raised.value.place, "write_batch_size" in raised.value.fix) == (str(path), True)


def test_oversized_page_is_found_anywhere_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["short"] * 1_000 + ["long " * 400_000, "short"]
    path = write(tmp_path / "a.parquet", texts, use_dictionary=False, write_batch_size=1, compression="zstd")
    monkeypatch.setattr("preprocessing.documents.formats.parquet._MOST_PAGE_BYTES", 1 << 20)
    with pytest.raises(UserError, match="a page decompresses to 1 MiB"):
        next(rows(path))


def test_missing_column_error_lists_the_columns_of_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["one"])
    with pytest.raises(UserError, match="no column 'body'") as raised:
        read(path, column="body")
    assert (raised.value.place, raised.value.fix.endswith("columns: text")) == (str(path), True)


def test_column_without_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'id' holds int64, not text"):
        read(write(tmp_path / "a.parquet", ["one"]), column="id")


def test_the_fix_names_the_fields_that_hold_text(tmp_path: Path) -> None:
    column = pa.array([{"text": "one", "id": 1}])
    path = write(tmp_path / "a.parquet", column)
    with pytest.raises(UserError, match="holds struct") as raised:
        read(path)
    assert "text.text" in raised.value.fix
    assert "text.id" not in raised.value.fix
    assert [text for _, text in rows(path, 0, 1 << 40, "text.text")] == [b"one"]


def test_another_format_is_named_with_its_fix(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["one"]})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UserError, match="this is Arrow") as raised:
        read(path)
    assert raised.value.fix == 'set format = "arrow" for this corpus'


@pytest.mark.parametrize("kept", [3, 100, -1, -300])
def test_truncated_file_is_an_error(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "a.parquet", [f"text {row}" for row in range(1_000)])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="damaged, truncated, or not Parquet") as raised:
        read(path)
    assert raised.value.place == str(path)


def test_damaged_page_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [f"text {row}" for row in range(1_000)], write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[pq.ParquetFile(path).metadata.row_group(0).column(3).data_page_offset + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read(path)


def test_compression_around_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "a.parquet", ["one"]).read_bytes()))
    with pytest.raises(UserError, match="Parquet is not read through another compression") as raised:
        read(path)
    assert raised.value.fix.startswith("decompress the file")


def test_other_file_is_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("plain text " * 100)
    with pytest.raises(UserError, match="or not Parquet"):
        read(path)


NESTED = pa.struct([("text", pa.string()), ("id", pa.int64())])


@pytest.mark.parametrize(
    ("column", "field"),
    [
        (pa.array(["one", None, "two"], pa.string_view()), "text"),
        (pa.array([b"one", None, b"two"], pa.binary_view()), "text"),
        (pa.array([b"one", None, b"two"], pa.binary(3)), "text"),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["one", None, "two"])), "text"),
        (pa.array([{"text": "one", "id": 1}, None, {"text": "two", "id": 2}], NESTED), "text.text"),
        (pa.array([{"a": {"b": "one"}}, {"a": None}, {"a": {"b": "two"}}]), "text.a.b"),
        (pa.array(["one", None, "two"]).cast(pa.dictionary(pa.int8(), pa.large_string())), "text"),
    ],
)
def test_views_and_nested_columns_are_read(tmp_path: Path, column: pa.Array, field: str) -> None:
    path = write(tmp_path / "a.parquet", column)
    assert [text for _, text in rows(path, 0, 1 << 40, field)] == [b"one", None, b"two"]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string_view())])
def test_paragraphs_in_lists_are_joined(tmp_path: Path, kind: pa.DataType) -> None:
    path = write(tmp_path / "a.parquet", pa.array([["one", "two"], None, ["three", None]], kind))
    assert [text for _, text in rows(path)] == [b"one\ntwo", None, b"three"]


def test_several_columns_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parts = pa.array([[{"p": "a"}, {"p": "b"}], [{"p": "c"}]])
    pq.write_table(pa.table({"title": ["one", None], "parts": parts, "a.b": ["x", "y"]}), path)
    assert [text for _, text in rows(path, 0, 1 << 40, "title", "parts.p", "a.b")] == [b"one\na\nb\nx", b"c\ny"]


def test_invalid_utf8_in_a_list_is_passed_on(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"bro\xffken"]).buffers())
    column = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), broken)
    assert [text for _, text in rows(write(tmp_path / "a.parquet", column))] == [b"bro\xffken"]


@pytest.mark.parametrize("field", ["nested.a", "nested.b", "nested.c", "nested", "text.a"])
def test_nested_column_without_text_is_an_error(tmp_path: Path, field: str) -> None:
    with pytest.raises(UserError, match=f"the column '{field}' holds .*, not text"):
        list(rows(write(tmp_path / "a.parquet", ["one"]), 0, 1 << 40, field))
