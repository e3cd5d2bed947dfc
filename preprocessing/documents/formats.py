"""The corpus formats: one record each, which holds everything the program knows about a format.

To add a format, write its reader (see `boundaries`), add its record here, and add its name to `format` in
`configs/schema/text.py`, which validates recipes. Measure `text_mb_s` with `python -m tests.benchmarks.formats`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from preprocessing.documents.boundaries import (
    RawDocument,
    doc_blocks,
    file_blocks,
    line_blocks,
    page_blocks,
    text_blocks,
)
from preprocessing.documents.document_text import text_of_doc, text_of_object, text_of_page, whole_block
from preprocessing.documents.input_files import ReadCounter, open_source
from preprocessing.documents.parquet import parquet_rows

# Takes a file's path, the first byte of a span and the byte after its last, the corpus's text field, and a counter of
# bytes read. Yields, for each document that begins in the span, its place (for messages) and its bytes, or None when it
# has no text.
Blocks = Callable[[str, int, int, str, ReadCounter], Iterator[tuple[str, bytes | None]]]
# Takes the decoded bytes that `Blocks` yielded, the text field, and the place. Returns the text, and the cause to drop
# the document or "".
TextOf = Callable[[str, str, str], tuple[str, str]]


@dataclass(frozen=True)
class Format:
    """How files of one format are converted to documents."""

    blocks: Blocks
    text_mb_s: float  # MB of text that one core reads, cleans, and encodes into word pieces per second
    text_of: TextOf = whole_block
    is_splittable: bool = True  # a reader can begin anywhere in the file, unless the file is compressed as a whole
    is_compressed: bool = False  # the format includes compression, whatever the file's suffix
    is_wikitext: bool = False
    lines_are_sentences: bool = False
    may_hold_surrogates: bool = False  # unpaired surrogates, which are not characters
    separator: str = ""  # the separator between two documents, if the author of a file can add it


def _in_stream(find: Callable[[BinaryIO, int, int, str], Iterator[RawDocument]]) -> Blocks:
    """Return a reader whose blocks `find` cuts out of the decompressed file."""

    def blocks(
        path: str, start: int, end: int, _text_field: str, counter: ReadCounter
    ) -> Iterator[tuple[str, bytes | None]]:
        with open_source(path, max(0, start - 1), counter) as stream:
            for offset, block in find(stream, start, end, path):
                yield f"{path}, byte {offset}", block

    return blocks


def _in_rows(
    path: str, start: int, end: int, text_field: str, counter: ReadCounter
) -> Iterator[tuple[str, bytes | None]]:
    for row, block in parquet_rows(path, start, end, text_field, counter):
        yield f"{path}, row {row}", block


# `text_mb_s` of text, jsonl, and wikipedia: measured on one core at about 3 GHz with 64 MB of English Wikipedia. The
# others: derived for the same core from their ratios to `text` (sentences 1.17, files 0.95, wikiextractor 0.94, parquet
# 0.92), which tests.benchmarks.formats measured on 8 MB of the same text.
FORMATS = {
    "wikipedia": Format(_in_stream(page_blocks), 0.8, text_of_page, is_wikitext=True),
    "wikiextractor": Format(_in_stream(doc_blocks), 16.0, text_of_doc),
    "text": Format(_in_stream(text_blocks), 17.0, separator="blank lines"),
    "sentences": Format(_in_stream(text_blocks), 20.0, lines_are_sentences=True, separator="blank lines"),
    "files": Format(_in_stream(file_blocks), 16.0, is_splittable=False),
    "jsonl": Format(_in_stream(line_blocks), 17.0, text_of_object, may_hold_surrogates=True),
    "parquet": Format(_in_rows, 15.5, is_compressed=True),
}
