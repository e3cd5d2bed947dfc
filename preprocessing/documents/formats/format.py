"""The record of a corpus format: everything that the program knows about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from configs.schema import CorpusConfig
from preprocessing.documents.formats.document_text import whole_block
from preprocessing.documents.input_files import ReadCounter, open_section
from preprocessing.storage import Section

# A document's place, for messages, and its bytes, or the cause to drop it.
Block = tuple[str, bytes | str]
# Takes a file's path, the first byte of a span and the byte after its last (as stored), the corpus, and a counter of
# bytes read. Yields each document that begins in the span.
Blocks = Callable[[str, int, int, CorpusConfig, ReadCounter], Iterator[Block]]
# Takes the decoded bytes that `Blocks` yielded, the corpus, and the place. Returns the text, and the cause to drop the
# document or "".
TextOf = Callable[[str, CorpusConfig, str], tuple[str, str]]


@dataclass(frozen=True)
class Format:
    """How files of one format are converted to documents."""

    blocks: Blocks
    text_mb_s: float  # MB of text that one core reads, cleans, and encodes into word pieces per second
    text_of: TextOf = whole_block
    is_splittable: bool = True  # a reader can begin anywhere in the file's content
    is_compressed: bool = False  # the format includes compression, whatever the file's suffix
    text_share: float = 1.0  # bytes of text per byte of the file, decompressed
    is_wikitext: bool = False
    lines_are_sentences: bool = False
    is_text: bool = True  # in the corpus's encoding; other formats state how they encode text
    may_hold_surrogates: bool = False  # unpaired surrogates, which are not characters
    side_files: tuple[str, ...] = ()  # globs of the names that the format's folders hold beside the data
    separator: str = ""  # the separator between two documents, if the author of a file can add it


def in_sections(find: Callable[[Section, str], Iterator[tuple[int, bytes | str]]]) -> Blocks:
    """Return a reader whose blocks `find` cuts out of a section of a file's content."""

    def blocks(path: str, start: int, end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
        section = open_section(path, start, end, counter, corpus.encoding)
        with section.stream:
            for offset, block in find(section, path):
                yield f"{path}, byte {offset}{section.origin}", block

    return blocks
