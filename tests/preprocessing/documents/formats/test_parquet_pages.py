"""The sizes of pages are those that the writer set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, strategies as st

from preprocessing.documents.formats.parquet_pages import page_sizes


def write(path: Path, texts: list[str], **options: Any) -> pq.ColumnChunkMetaData:
    """Write a file with one page per row, and return the offsets of the column."""
    table = pa.table({"text": texts}, schema=pa.schema([pa.field("text", pa.string(), nullable=False)]))
    pq.write_table(table, path, use_dictionary=False, write_batch_size=1, data_page_size=1, **options)
    return pq.ParquetFile(path).metadata.row_group(0).column(0)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("checksum", [False, True])
@given(texts=st.lists(st.text(max_size=200) | st.just("long " * 1_000), min_size=1, max_size=20))
def test_page_sizes_are_those_of_their_rows(
    tmp_path_factory: pytest.TempPathFactory, version: str, checksum: bool, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("pages") / "a.parquet"
    column = write(path, texts, data_page_version=version, write_page_checksum=checksum, compression="zstd")
    with path.open("rb") as stream:
        sizes = list(
            page_sizes(stream, column.data_page_offset, column.data_page_offset + column.total_compressed_size)
        )
    assert sizes == [4 + len(text.encode()) for text in texts]  # its length, and the text


def test_bytes_without_a_page_header_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = write(path, ["one", "two"] * 100)
    with path.open("rb") as stream:
        for begin in range(column.data_page_offset + 1, column.data_page_offset + 20):
            with pytest.raises(ValueError, match="page"):
                list(page_sizes(stream, begin, path.stat().st_size + 1))
