"""The documents of a corpus, one after the other, as they stand in its files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from configs.errors import UserError
from configs.schema import CorpusConfig, ReadingConfig
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter
from preprocessing.documents.plan import FileSpan, WorkItem
from preprocessing.documents.progress import Monitor

MOST_CHARS = 1 << 22  # of a document; a longer one is parted, so that no step after this holds more of it
MOST_WIKITEXT_CHARS = 1 << 21  # of a page: MediaWiki saves none longer, and parsing takes 160 bytes a character
_COPIES_OF_THE_LONGEST = 8  # stand in one group: what is taken more often is parted sooner


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it stands in the input."""

    text: str
    place: str  # where it was found, for messages
    is_wikitext: bool = False
    is_split: bool = False  # each of its lines is a sentence
    weight: float = 1.0  # its corpus's
    repairs: tuple[str, ...] = ()  # what was mended in it, as causes to count
    drop: str = ""  # why it is no document of the corpus, a cause to count; empty: it is one


def read_documents(
    span: FileSpan, corpus: CorpusConfig, config: ReadingConfig, meter: ReadCounter
) -> Iterator[Document]:
    """The documents that begin in `span`, in order, those to drop included.

    Raises `UserError` for a file that is unreadable, damaged, truncated or not of the corpus's format, and for bytes
    that are no UTF-8 where the recipe refuses them.
    """
    most_chars = MOST_WIKITEXT_CHARS if FORMATS[corpus.format].is_wikitext else MOST_CHARS
    most_chars //= max(1, math.ceil(corpus.weight / _COPIES_OF_THE_LONGEST))
    end = sys.maxsize if span.end is None else span.end
    for place, block in FORMATS[corpus.format].blocks(span.path, span.start, end, corpus.text_field, meter):
        document = _parse(block, place, corpus, config)
        yield from _parts(document, most_chars) if len(document.text) > most_chars else (document,)


def read_item(item: WorkItem, config: ReadingConfig, monitor: Monitor) -> Iterator[Document]:
    """The documents of all spans of a work item; `monitor` counts them, and may stop the reading."""
    for span in item.spans:
        for document in read_documents(span, config.corpora[span.corpus], config, monitor.meter):
            monitor.documents += 1
            monitor.visit()
            yield document


def _parse(block: bytes | None, place: str, corpus: CorpusConfig, config: ReadingConfig) -> Document:
    form = FORMATS[corpus.format]
    decoded, is_repaired = _decode(block or b"", place, config)
    text, drop = form.text_of(decoded, corpus.text_field, place)
    if form.may_hold_surrogates:
        text, is_repaired_again = _without_surrogates(text, place, config)
        is_repaired |= is_repaired_again
    return Document(
        text,
        place,
        is_wikitext=form.is_wikitext,
        is_split=form.lines_are_sentences,
        weight=corpus.weight,
        repairs=("invalid_utf8_replaced",) if is_repaired else (),
        drop="no_text_field" if block is None else drop,
    )


def _parts(document: Document, most_chars: int) -> Iterator[Document]:
    """A document that is too long, cut at ends of lines if it has some, else at blanks."""
    text = document.text
    repairs = (*document.repairs, "part_of_a_long_document")
    start = 0
    while start < len(text):
        end = start + most_chars
        if end < len(text):
            middle = start + most_chars // 2
            found = max(text.rfind("\n", middle, end), 0) or text.rfind(" ", middle, end)
            end = found + 1 if found > 0 else end
        yield replace(document, text=text[start:end], repairs=repairs)
        start = end


def _decode(block: bytes, place: str, config: ReadingConfig) -> tuple[str, bool]:
    """The text, and whether bytes had to be replaced."""
    try:
        return block.decode(), False
    except UnicodeDecodeError as error:
        _refuse_or_replace(f"bytes that are no UTF-8 ({error.reason})", place, config)
        return block.decode(errors="replace"), True


def _without_surrogates(text: str, place: str, config: ReadingConfig) -> tuple[str, bool]:
    """The text, and whether halves of surrogate pairs had to be replaced, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse_or_replace("half of a surrogate pair, which is no character", place, config)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


def _refuse_or_replace(cause: str, place: str, config: ReadingConfig) -> None:
    if config.invalid_utf8 == "refuse":
        raise UserError(cause, place=place, fix='mend the file, or set data.invalid_utf8="replace"')
