"""Parquet files: a row is a document, a row group what can be entered in the middle of a file.

Row groups may be of any size, so their pages are read one after the other, and only those of the text's column. A page
is unpacked whole: how large it is, the writer decides.
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
_BATCH_BYTES = 1 << 24  # of text, about: each row may be a book
_MOST_PAGE_BYTES = 1 << 27  # unpacked; reading takes two or three times as much
_READ_BYTES = 1 << 20

ParquetRow = tuple[int, bytes | None]  # its number in the file, and its text as UTF-8 (as it is claimed), if it has one


def parquet_rows(path: str, start: int, end: int, column: str, meter: ReadCounter) -> Iterator[ParquetRow]:
    """The rows of those row groups that begin in the bytes [start, end) of the file.

    Raises `UserError` for a file that is damaged or truncated or no Parquet, and for one without such a text column.
    """
    with open_stored(path, meter) as stream, _explained(path):
        file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True)
        _check_column(file.schema_arrow, column, path)
        row = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if group.num_rows and start <= _begin(group.column(0)) < end:
                chunks = map(group.column, range(group.num_columns))  # more than columns, where these are nested
                texts = next(chunk for chunk in chunks if chunk.path_in_schema == column)
                _check_pages(texts, path)
                rows = min(_BATCH_ROWS, 1 + _BATCH_BYTES * group.num_rows // (texts.total_uncompressed_size + 1))
                for batch in file.iter_batches(rows, [number], [column], use_threads=False):
                    values = batch.column(column).cast(pa.large_binary())
                    yield from enumerate((text.as_py() for text in values), row)  # one at a time: each may be long
                    row += len(values)
            else:
                row += group.num_rows


def _begin(chunk: pq.ColumnChunkMetaData) -> int:
    """Where a column of a row group begins in the file; its first one's begin is the row group's."""
    offsets = (chunk.dictionary_page_offset, chunk.data_page_offset)
    return int(min(offset for offset in offsets if offset))  # none, and 0 with some writers: no dictionary


def _check_pages(texts: pq.ColumnChunkMetaData, path: str) -> None:
    """Raise `UserError` where one of a column's pages would fill the memory."""
    if texts.total_uncompressed_size <= _MOST_PAGE_BYTES:
        return
    begin = _begin(texts)
    with open_stored(path, ReadCounter()) as stream:  # what is looked at here is read, and counted, later
        most = max(page_sizes(stream, begin, begin + texts.total_compressed_size), default=0)
    if most > _MOST_PAGE_BYTES:
        cause = f"a page of {most >> 20} MiB, which is more than {_MOST_PAGE_BYTES >> 20} and is unpacked whole"
        fix = "write the file with fewer rows a page (pyarrow: write_batch_size=16), or as JSONL"
        raise UserError(cause, place=path, fix=fix)


def _check_column(schema: pa.Schema, column: str, path: str) -> None:
    fix = f"set text_field of the corpus to one of its columns: {', '.join(schema.names)}"
    if column not in schema.names:
        raise UserError(f"the file has no column {column!r}", place=path, fix=fix)
    kind = schema.field(column).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not any(is_text(value) for is_text in texts):
        raise UserError(f"the column {column!r} holds no text, but {kind}", place=path, fix=fix)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        cause = f"the Parquet file is damaged or truncated, or is none ({error})"
        raise UserError(cause, place=path, fix="fetch it again, or mend the corpus's format") from error
