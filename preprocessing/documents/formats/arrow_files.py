"""Arrow files: a row is a document. Streams, as in the folders of Hugging Face `datasets`, and random-access files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

from configs.errors import UserError
from configs.schema import CorpusConfig
from preprocessing.documents.formats.columns import TextColumns, explained
from preprocessing.documents.formats.format import Block
from preprocessing.documents.input_files import ReadCounter, open_stored

# What save_to_disk and the cache of `datasets` keep beside the rows. A cache-*.arrow file is the result of a function
# on the rows of another file.
SIDE_FILES = ("dataset_info.json", "dataset_dict.json", "state.json", "cache-*.arrow", "*.lock")

_FILE_START = b"ARROW1"
_FEATHER_1 = b"FEA1"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def arrow_rows(path: str, _start: int, _end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
    """Yield the rows of all record batches. Memory holds one batch at a time.

    Raises `UserError` for a file that is damaged, truncated or not Arrow, and for one without the text columns.
    """
    with open_stored(path, counter) as stream, explained(path, "Arrow"):
        row = 0
        for batch in _batches(stream, path):
            batch.validate(full=True)  # a text can begin or end outside the file
            columns = TextColumns(batch.schema, corpus.text_fields, path)
            for offset, text in enumerate(columns.texts(batch)):
                yield f"{path}, row {row + offset}", "no_text_field" if text is None else text
            row += batch.num_rows


def _batches(stream: BinaryIO, path: str) -> Iterator[pa.RecordBatch]:
    start = stream.read(len(_FILE_START))
    if start.startswith(_FEATHER_1):
        fix = "write it as Feather of version 2, which is Arrow, or as Parquet"
        raise UserError("this is Feather of version 1", place=path, fix=fix)
    if start == _FILE_START:
        file = pa.ipc.open_file(stream)
        yield from map(file.get_batch, range(file.num_record_batches))
        return
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - len(_END_OF_STREAM)))
    if stream.read() != _END_OF_STREAM:  # pyarrow takes a stream that is cut between two batches for a complete one
        raise UserError("the stream is truncated, or not Arrow", place=path, fix="fetch the file again")
    stream.seek(0)
    while stream.tell() < size:  # files can be concatenated
        yield from pa.ipc.open_stream(stream)
