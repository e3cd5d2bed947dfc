"""What the first bytes of a file tell about its format, and a warning of markup that a corpus reads as plain text."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from configs.schema import CorpusConfig
from preprocessing.documents.input_files import ReadCounter, SourceFile, open_source

_PLAIN = ("text", "sentences", "files")
_SAMPLE_BYTES = 1 << 16
_SAMPLED_FILES = 3
_FEWEST_TAGS, _TAGS_SHARE = 20, 0.15  # of the sample's bytes: a few tags stand in a text about HTML

_TAG = re.compile(rb"</?(?:p|div|span|a|br|ul|ol|li|t[rdh]|table|h[1-6]|b|i|em|strong|img)(?:\s[^<>]{0,500})?/?>", re.I)
_HTML = (rb"<!doctype html|<html[\s>]", "HTML", "extract its text")
_STARTS = (  # of markup, with the format that reads it
    (rb"<doc [^<>\n]*>", "output of WikiExtractor", "wikiextractor"),
    (rb"(?:<\?xml[^>]*>\s*)?<mediawiki", "a MediaWiki dump", "wikipedia"),
    (rb'\{\s*"(?:[^"\\\n]|\\.){1,200}"\s*:|\[\s*\{\s*"', "JSON", "jsonl"),
)
_BINARY_STARTS = ((rb"PAR1", "parquet"), (rb"ARROW1|\xff\xff\xff\xff", "arrow"), (rb"WARC/", "warc"))
_BLANKS = b"\xef\xbb\xbf \r\n\t"

logger = logging.getLogger(__name__)


def warn_of_markup(files: Sequence[SourceFile], corpus: CorpusConfig) -> None:
    """Warn if the first bytes of one of a few files show markup, and its format reads it as text."""
    if corpus.format not in _PLAIN:
        return
    for file in files[:: max(1, len(files) // _SAMPLED_FILES)][:_SAMPLED_FILES]:
        with open_source(file.path, ReadCounter(), corpus.encoding, is_text=False) as stream:
            found = _markup(stream.read(_SAMPLE_BYTES))
        if found:
            message = '%s: this is probably %s, whose markup becomes text under format = "%s"; %s'
            logger.warning(message, file.path, found[0], corpus.format, found[1])
            return


def format_of(sample: bytes) -> str | None:
    """Return the format of a file that begins like this, after decompression; None for text and for tables as text."""
    starts = (*_BINARY_STARTS, *((start, name) for start, _, name in _STARTS))
    return next((name for start, name in starts if re.match(start, sample.lstrip(_BLANKS), re.I)), None)


def _markup(sample: bytes) -> tuple[str, str] | None:
    """Return what the markup is, and the fix, or None for text."""
    text = sample.lstrip(_BLANKS)
    for start, kind, name in _STARTS:
        if re.match(start, text, re.I):
            return kind, f'set format = "{name}" for this corpus' + (", and its text_field" if name == "jsonl" else "")
    tags = _TAG.findall(text)
    has_tags = len(tags) >= _FEWEST_TAGS and sum(map(len, tags)) >= _TAGS_SHARE * len(text)
    return _HTML[1:] if has_tags or re.match(_HTML[0], text, re.I) else None
