"""Parquet files: a row is a document, and a file can be split between row groups.

Row groups can have any size, so their pages are read one after another, and only those of the text column. A page is
decompressed as a unit, and its size depends on the program that wrote the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.columns import TextColumns, explained
from preprocessing.documents.formats.format import Block
from preprocessing.documents.formats.parquet_pages import page_sizes
from preprocessing.documents.input_files import ReadCounter, open_stored

_BATCH_ROWS = 16
_BATCH_BYTES = 1 << 24  # approximate bytes of text: each row can be a book
_MOST_PAGE_BYTES = 1 << 27  # decompressed; reading needs two or three times as much memory
_READ_BYTES = 1 << 20


def parquet_rows(path: str, start: int, end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
    """Yield the rows of the row groups that begin in the bytes [start, end) of the file.

    Raises `UserError` for a file that is damaged, truncated or not Parquet, and for one without the text columns.
    """
    with open_stored(path, counter) as stream, explained(path, "Parquet"):
        file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True)
        columns = TextColumns(file.schema_arrow, corpus.text_fields, path)
        row = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if group.num_rows and start <= _begin(group.column(0)) < end:
                rows = _batch_rows(group, columns, path)
                for batch in file.iter_batches(rows, [number], columns.names, use_threads=False):
                    for offset, text in enumerate(columns.texts(batch)):
                        yield f"{path}, row {row + offset}", "no_text_field" if text is None else text
                    row += batch.num_rows
            else:
                row += group.num_rows


def _batch_rows(group: pq.RowGroupMetaData, columns: TextColumns, path: str) -> int:
    """Return the number of rows to read at once. Raises `UserError` if a page of the columns would fill the memory."""
    chunks = [group.column(number) for number in range(group.num_columns)]  # a nested column has several chunks
    prefixes = tuple(f"{name}." for name in columns.names)
    texts = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(prefixes)]
    for chunk in texts:
        _check_pages(chunk, path)
    size = sum(chunk.total_uncompressed_size for chunk in texts)
    return int(min(_BATCH_ROWS, 1 + _BATCH_BYTES * group.num_rows // (size + 1)))


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
