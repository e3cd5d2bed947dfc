"""Read the documents of a corpus one after another, as they appear in its files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from configs.errors import UserError
from configs.schema import CorpusConfig, ReadingConfig
from preprocessing.documents.content import refuse_change, unchanged
from preprocessing.documents.formats import FORMATS
from preprocessing.documents.input_files import ReadCounter
from preprocessing.documents.plan import WorkItem
from preprocessing.documents.progress import Monitor
from preprocessing.documents.spans import FileSpan

MOST_CHARS = 1 << 22  # of a document; a longer one is split, which bounds the memory of all later steps
MOST_WIKITEXT_CHARS = 1 << 21  # of a page: MediaWiki saves none longer, and parsing takes 160 bytes per character
_COPIES_OF_THE_LONGEST = 8  # in one group; documents with a higher weight are split at a shorter length


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it appears in the input."""

    text: str
    place: str  # where it is in the input, for messages
    is_wikitext: bool = False
    is_split: bool = False  # each of its lines is a sentence
    weight: float = 1.0  # of its corpus
    repairs: tuple[str, ...] = ()  # what was repaired in it, as causes to count
    drop: str = ""  # the cause to drop it, which is counted; empty: keep it
    corpus: int = 0  # the number of its corpus in the recipe
    path: str = ""  # of its file
    span: int = 0  # the place of its span in its work item
    read_bytes: int = 0  # as it was read, markup and all


def read_documents(
    span: FileSpan, corpus: CorpusConfig, config: ReadingConfig, meter: ReadCounter, place_in_item: int = 0
) -> Iterator[Document]:
    """Yield the documents that begin in `span`, in order, including those to drop.

    Raises `UserError` for a file that is unreadable, damaged, truncated or not in the corpus's format, for one that
    changed since its digest was computed, and for bytes that are not UTF-8 when the recipe refuses them.
    """
    most_chars = MOST_WIKITEXT_CHARS if FORMATS[corpus.format].is_wikitext else MOST_CHARS
    most_chars //= max(1, math.ceil(corpus.weight / _COPIES_OF_THE_LONGEST))
    end = sys.maxsize if span.end is None else span.end
    with unchanged(span.path, span.state):
        for place, block in FORMATS[corpus.format].blocks(span.place, span.start, end, corpus, meter):
            document = replace(
                _parse(block, place, corpus, config),
                corpus=span.corpus,
                path=span.path,
                span=place_in_item,
                read_bytes=0 if isinstance(block, str) else len(block),
            )
            yield from _parts(document, most_chars) if len(document.text) > most_chars else (document,)


def read_item(item: WorkItem, config: ReadingConfig, monitor: Monitor) -> Iterator[Document]:
    """Yield the documents of all spans of a work item. `monitor` counts them, and can stop the reading."""
    for place, span in enumerate(item.spans):
        monitor.place = span.path
        monitor.visit()
        for document in read_documents(span, config.corpora[span.corpus], config, monitor.meter, place):
            monitor.documents += 1
            monitor.place = document.place
            monitor.visit()
            yield document


def refuse_changed_input(item: WorkItem) -> None:
    """Raise `UserError` if a file of the item changed, before what was read from it counts as finished."""
    for span in item.spans:
        if span.state is not None:
            refuse_change(span.path, span.state)


def _parse(block: bytes | str, place: str, corpus: CorpusConfig, config: ReadingConfig) -> Document:
    form = FORMATS[corpus.format]
    if isinstance(block, str):
        return Document("", place, drop=block)
    decoded, is_repaired = _decode(block, place, config)
    text, drop = form.text_of(decoded, corpus, place)
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
        drop=drop,
    )


def _parts(document: Document, most_chars: int) -> Iterator[Document]:
    """Split a document that is too long, at line ends if possible, else at blanks."""
    text = document.text
    repairs = (*document.repairs, "part_of_a_long_document")
    start = 0
    while start < len(text):
        end = start + most_chars
        if end < len(text):
            middle = start + most_chars // 2
            found = max(text.rfind("\n", middle, end), 0) or text.rfind(" ", middle, end)
            end = found + 1 if found > 0 else end
        part = text[start:end]
        yield replace(document, text=part, repairs=repairs, read_bytes=document.read_bytes * len(part) // len(text))
        start = end


def _decode(block: bytes, place: str, config: ReadingConfig) -> tuple[str, bool]:
    """Return the text, and whether bytes had to be replaced."""
    try:
        return block.decode(), False
    except UnicodeDecodeError as error:
        _refuse_or_replace(f"the bytes are not UTF-8 ({error.reason})", place, config)
        return block.decode(errors="replace"), True


def _without_surrogates(text: str, place: str, config: ReadingConfig) -> tuple[str, bool]:
    """Return the text, and whether unpaired surrogates had to be replaced. JSON can express them, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse_or_replace("an unpaired surrogate, which is not a character", place, config)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
    return text, False


def _refuse_or_replace(cause: str, place: str, config: ReadingConfig) -> None:
    if config.invalid_utf8 == "refuse":
        raise UserError(cause, place=place, fix='fix the file, or set data.invalid_utf8="replace"')
