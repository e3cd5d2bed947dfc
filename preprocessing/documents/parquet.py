"""Parquet files: a row is a document, and a file can be split between row groups.

Row groups can have any size, so their pages are read one after another, and only those of the text column. A page is
decompressed as a unit, and its size depends on the program that wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from preprocessing.documents.input_files import ReadCounter, open_stored
from preprocessing.documents.parquet_pages import page_sizes

_BATCH_ROWS = 16
_BATCH_BYTES = 1 << 24  # approximate bytes of text: each row can be a book
_MOST_PAGE_BYTES = 1 << 27  # decompressed; reading needs two or three times as much memory
_READ_BYTES = 1 << 20

ParquetRow = tuple[int, bytes | None]  # its number in the file, and its text, declared to be UTF-8, or None


def parquet_rows(path: str, start: int, end: int, column: str, meter: ReadCounter) -> Iterator[ParquetRow]:
    """Yield the rows of the row groups that begin in the bytes [start, end) of the file.

    Raises `UserError` for a file that is damaged, truncated or not Parquet, and for one without the text column.
    """
    with open_stored(path, meter) as stream, _explained(path):
        file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True)
        _check_column(file.schema_arrow, column, path)
        row = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if group.num_rows and start <= _begin(group.column(0)) < end:
                chunks = map(group.column, range(group.num_columns))  # a nested column has several chunks
                texts = next(chunk for chunk in chunks if chunk.path_in_schema == column)
                _check_pages(texts, path)
                rows = min(_BATCH_ROWS, 1 + _BATCH_BYTES * group.num_rows // (texts.total_uncompressed_size + 1))
                for batch in file.iter_batches(rows, [number], [column], use_threads=False):
                    values = batch.column(column).cast(pa.large_binary())
                    yield from enumerate((text.as_py() for text in values), row)  # one at a time: each can be long
                    row += len(values)
            else:
                row += group.num_rows


def _begin(chunk: pq.ColumnChunkMetaData) -> int:
    """Return the offset of a column chunk in the file. A row group begins where its first column chunk begins."""
    offsets = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return int(min(offset for offset in offsets if offset))  # None, or 0 from some writers, means no dictionary


def _check_pages(texts: pq.ColumnChunkMetaData, path: str) -> None:
    """Raise `UserError` if a page of the column would fill the memory."""
    if texts.total_uncompressed_size <= _MOST_PAGE_BYTES:
        return
    begin = _begin(texts)
    with open_stored(path, ReadCounter()) as stream:  # a separate counter: these bytes are counted when they are read
        most = max(page_sizes(stream, begin, begin + texts.total_compressed_size), default=0)
    if most > _MOST_PAGE_BYTES:
        cause = f"a page decompresses to {most >> 20} MiB, more than the limit of {_MOST_PAGE_BYTES >> 20} MiB"
        fix = "write the file with fewer rows per page (pyarrow: write_batch_size=16), or as JSONL"
        raise UserError(cause, place=path, fix=fix)


def _check_column(schema: pa.Schema, column: str, path: str) -> None:
    fix = f"set the corpus's text_field to one of the file's columns: {', '.join(schema.names)}"
    if column not in schema.names:
        raise UserError(f"the file has no column {column!r}", place=path, fix=fix)
    kind = schema.field(column).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not any(is_text(value) for is_text in texts):
        raise UserError(f"the column {column!r} holds {kind}, not text", place=path, fix=fix)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = f"the file is damaged, truncated, or not Parquet ({error})"
        raise UserError(cause, place=path, fix="fetch it again, or correct the corpus's format") from error
