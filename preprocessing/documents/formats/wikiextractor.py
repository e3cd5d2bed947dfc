"""The output of WikiExtractor: <doc> elements, or JSON lines (its option --json). Both escape `<`, `>` and `&`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from configs.schema import CorpusConfig
from preprocessing.documents.formats.boundaries import doc_blocks
from preprocessing.documents.formats.format import Block, in_sections
from preprocessing.documents.formats.json_lines import object_blocks, text_of_object
from preprocessing.documents.input_files import ReadCounter, open_source

# What Python's html.escape writes. An `&nbsp;` that an article shows as such is written as `&amp;nbsp;`.
_ESCAPES = re.compile(r"&(?:lt|gt|amp|quot|#x27);")


def article_blocks(path: str, start: int, end: int, corpus: CorpusConfig, counter: ReadCounter) -> Iterator[Block]:
    """Yield the <doc> elements of the file, or its lines if it begins with a JSON object."""
    with open_source(path, ReadCounter(), corpus.encoding) as stream:
        is_json = stream.read(4).removeprefix(b"\xef\xbb\xbf").startswith(b"{")
    yield from in_sections(object_blocks if is_json else doc_blocks)(path, start, end, corpus, counter)


def text_of_article(block: str, corpus: CorpusConfig, place: str) -> tuple[str, str]:
    """Return the article's text, unescaped once. The tags of a <doc> element are on separate lines."""
    if block.startswith("<doc "):
        text, cause = block[block.find("\n") : block.rfind("\n")], ""
    else:
        text, cause = text_of_object(block, corpus, place)
    return _ESCAPES.sub(lambda escape: html.unescape(escape[0]), text) if "&" in text else text, cause
