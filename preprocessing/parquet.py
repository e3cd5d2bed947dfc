"""Parquet files: a row is a document, a row group what can be entered in the middle of a file.

Row groups may be of any size, so their pages are read one after the other, and only those of the text's column.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import UserError
from preprocessing.sources import Meter, open_stored

_BATCH_ROWS = 64  # each may be a book
_READ_BYTES = 1 << 20

Row = tuple[int, bytes | None]  # its number in the file, and its text as UTF-8 (as it is claimed), if it has one


def parquet_rows(path: str, start: int, end: int, column: str, meter: Meter) -> Iterator[Row]:
    """The rows of those row groups that begin in the bytes [start, end) of the file.

    Raises `UserError` for a file that is damaged or truncated or no Parquet, and for one without such a text column.
    """
    with open_stored(path, meter) as stream, _explained(path):
        file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False, page_checksum_verification=True)
        _check_column(file.schema_arrow, column, path)
        row = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if group.num_rows and start <= _begin(group) < end:
                for batch in file.iter_batches(_BATCH_ROWS, [number], [column], use_threads=False):
                    values = batch.column(column).cast(pa.large_binary())
                    yield from enumerate(values.to_pylist(), row)
                    row += len(values)
            else:
                row += group.num_rows


def _begin(group: pq.RowGroupMetaData) -> int:
    """Where the row group begins in the file."""
    first = group.column(0)
    offsets = (first.dictionary_page_offset, first.data_page_offset)
    return int(min(offset for offset in offsets if offset))  # none, and 0 with some writers: no dictionary


def _check_column(schema: pa.Schema, column: str, path: str) -> None:
    mend = f"set text_field of the corpus to one of its columns: {', '.join(schema.names)}"
    if column not in schema.names:
        raise UserError(f"the file has no column {column!r}", place=path, mend=mend)
    kind = schema.field(column).type
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    if not any(is_text(value) for is_text in texts):
        raise UserError(f"the column {column!r} holds no text, but {kind}", place=path, mend=mend)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        cause = f"the Parquet file is damaged or truncated, or is none ({error})"
        raise UserError(cause, place=path, mend="fetch it again, or mend the corpus's format") from error
