"""The corpus formats: one record each, which holds all that the program knows of a format.

To add a format, write its reader (see `boundaries`) and its record here, and add its name to `format` in
`configs/schema/text.py`, where recipes are checked. Measure `text_mb_s` with `python -m tests.benchmarks.formats`.
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

# Takes a file's path, the bytes to begin and end at, the corpus's text field, and a counter of bytes read. Gives the
# place of each document that begins there, for messages, and its bytes; None where it has no text.
Blocks = Callable[[str, int, int, str, ReadCounter], Iterator[tuple[str, bytes | None]]]
# Takes what `Blocks` gave, decoded, the text field, and the place. Gives the text, and the cause to drop it or "".
TextOf = Callable[[str, str, str], tuple[str, str]]


@dataclass(frozen=True)
class Format:
    """How files of one format become documents."""

    blocks: Blocks
    text_mb_s: float  # MB of text that a core reads, cleans, and cuts into word pieces in a second
    text_of: TextOf = whole_block
    is_splittable: bool = True  # a reader can begin anywhere in the file, unless the file is compressed as a whole
    is_compressed: bool = False  # by itself, whatever the file's name
    is_wikitext: bool = False
    lines_are_sentences: bool = False
    may_hold_surrogates: bool = False  # halves of surrogate pairs, which are no characters
    separator: str = ""  # what stands between two documents, if their author can add it


def _in_stream(find: Callable[[BinaryIO, int, int, str], Iterator[RawDocument]]) -> Blocks:
    """Blocks that `find` cuts out of the decompressed file."""

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


# `text_mb_s` of text, jsonl, and wikipedia: one core at some 3 GHz, 64 MB of English Wikipedia. The others: 8 MB of the
# same, by tests.benchmarks.formats, as that core would do if it kept its ratio to `text` (sentences 1.17, files 0.95,
# wikiextractor 0.94, parquet 0.92).
FORMATS = {
    "wikipedia": Format(_in_stream(page_blocks), 0.8, text_of_page, is_wikitext=True),
    "wikiextractor": Format(_in_stream(doc_blocks), 16.0, text_of_doc),
    "text": Format(_in_stream(text_blocks), 17.0, separator="blank lines"),
    "sentences": Format(_in_stream(text_blocks), 20.0, lines_are_sentences=True, separator="blank lines"),
    "files": Format(_in_stream(file_blocks), 16.0, is_splittable=False),
    "jsonl": Format(_in_stream(line_blocks), 17.0, text_of_object, may_hold_surrogates=True),
    "parquet": Format(_in_rows, 15.5, is_compressed=True),
}
