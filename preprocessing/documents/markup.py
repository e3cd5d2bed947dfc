"""What the first bytes of a file tell about its format, and a warning of files that a corpus wrongly reads as prose."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from configs.schema import CorpusConfig
from preprocessing.documents.input_files import ReadCounter, SourceFile, open_source
from preprocessing.storage import is_compressed

_PLAIN = ("text", "sentences", "files")
_SAMPLE_BYTES = 1 << 16
_SAMPLED_FILES = 3  # and one of each suffix that tells something

_EXTRACT = "extract its text"
_STARTS = (  # of markup, with the format that reads it
    (rb"<doc [^<>\n]*>", "output of WikiExtractor", "wikiextractor"),
    (rb"(?:<\?xml[^>]*>\s*)?<mediawiki", "a MediaWiki dump", "wikipedia"),
    (rb'\{\s*"(?:[^"\\\n]|\\.){1,200}"\s*:|\[\s*\{\s*"', "JSON", "jsonl"),
)
_BINARY_STARTS = ((rb"PAR1", "parquet"), (rb"ARROW1|\xff\xff\xff\xff", "arrow"), (rb"WARC/", "warc"))
_BLANKS = b"\xef\xbb\xbf \r\n\t\x1e"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kind:
    """Files that are no prose, and how to recognise them: by their start, or by what stands all over them.

    A suffix makes a quarter of the marks enough, because a few marks stand in prose about such files.
    """

    name: str
    part: str  # of them that is no prose
    fix: str
    suffixes: tuple[str, ...]
    marks: re.Pattern[bytes]
    share: float  # of the bytes that are in marks
    fewest: int = 20
    start: re.Pattern[bytes] | None = None

    def is_kind_of(self, text: bytes, suffix: str) -> bool:
        if self.start and self.start.match(text):
            return True
        ease = 4 if suffix in self.suffixes else 1
        marks = [found[0] for found in self.marks.finditer(text)]
        return ease * len(marks) >= self.fewest and ease * sum(map(len, marks)) >= self.share * len(text)


_NOTHING = re.compile(rb"(?!)")
_MAIL_HEADERS = (
    rb"(?:from|to|cc|date|subject|sender|received|reply-to|return-path|delivered-to|message-id|in-reply-to|references"
    rb"|mime-version|content-type|content-transfer-encoding|newsgroups|organization|x-[\w-]+)"
)
_CODE = (
    ".py", ".r", ".jl", ".m", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cs", ".java", ".kt", ".scala", ".swift",
    ".go", ".rs", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".css", ".php", ".rb", ".pl", ".lua", ".sh", ".bash", ".sql",
)  # fmt: skip
_KINDS = (
    _Kind(
        "HTML",
        "markup",
        _EXTRACT,
        (".html", ".htm", ".xhtml"),
        re.compile(
            rb"</?(?:p|div|span|a|br|ul|ol|li|t[rdh]|table|h[1-6]|b|i|em|strong|img)(?:\s[^<>]{0,500})?/?>", re.I
        ),
        share=0.15,
        start=re.compile(rb"<!doctype html|<html[\s>]", re.I),
    ),
    _Kind("XML", "markup", _EXTRACT, (".xml",), _NOTHING, share=1, start=re.compile(rb"<\?xml\s")),
    _Kind("RTF", "markup", _EXTRACT, (".rtf",), _NOTHING, share=1, start=re.compile(rb"\{\\rtf")),
    _Kind(
        "subtitles",
        "timing",
        "keep only the lines that are spoken",
        (".srt", ".vtt", ".sbv", ".ass", ".ssa"),
        re.compile(rb"^(?:\d+:)?\d+:\d\d[,.]\d+[ \t]*-->[^\n]*|^Dialogue:[^\n]*?,,", re.M),
        share=0.1,
        fewest=4,
        start=re.compile(rb"WEBVTT\b|\[Script Info\]"),
    ),
    _Kind(
        "e-mail",
        "header",
        "extract the text of the messages, for example with Python's modules mailbox and email",
        (".eml", ".mbox", ".mbx"),
        re.compile(rb"^" + _MAIL_HEADERS + rb":[^\n]*", re.M | re.I),
        share=0.2,
        start=re.compile(
            rb"(?:From \S[^\n]*\d{4}\r?\n)?(?:" + _MAIL_HEADERS + rb":[^\n]*\n(?:[ \t][^\n]*\n){0,99}){3}", re.I
        ),
    ),
    _Kind(
        "TeX",
        "markup",
        "convert it to text, for example with pandoc",
        (".tex", ".ltx", ".bib", ".sty"),
        re.compile(rb"\\[A-Za-z]+\*?(?:\[[^\]\n]{0,200}\])?\{|\\(?:item|par|section)\b|\$[^$\n]{1,200}\$"),
        share=0.03,
        start=re.compile(rb"(?:%[^\n]*\n|\s)*\\(?:documentclass|documentstyle|input|usepackage)\b"),
    ),
    _Kind(
        "source code",
        "syntax",
        "keep only its comments, or leave it out of data.corpora paths",
        _CODE,
        re.compile(
            rb"^[^\n]*(?:[{]|\);|\w\(\)|\) ?:)[ \t]*\r?$|^[ \t]*[\])}]+[;,]?[ \t]*\r?$"
            rb"|^[ \t]*(?:#(?:include|define|ifn?def|endif)\b|import [\w.*{]+|from [\w.]+ import\b"
            rb"|(?:async )?def \w+\(|fn \w+|func \w+|function \w*\("
            rb"|(?:const|let|var|int|char|void|static|public|private|struct)\b[^\n]*[=;(,{]"
            rb"|return\b[^\n]{0,80}[;)\]\w]\r?$|[\w.\[\]]+ [-+*/|&]?= \S|//|/\*|\*/)[^\n]*",
            re.M,
        ),
        share=0.25,
    ),
    _Kind(
        "a table",
        "layout",
        'set format = "csv" or "tsv" for this corpus, and its text_field',
        (".csv", ".tsv"),
        re.compile(rb"^[^\n]*[,;\t][^\n]*", re.M),
        share=2,  # of a text that has no such suffix, none
        fewest=4,
    ),
)


def warn_of_markup(files: Sequence[SourceFile], corpus: CorpusConfig) -> None:
    """Warn if the first bytes of one of a few files show that it is no prose, and its format reads it as prose."""
    if corpus.format not in _PLAIN:
        return
    warned = set()
    for file in _sampled(files):
        with open_source(file.path, ReadCounter(), corpus.encoding, is_text=False) as stream:
            found = _markup(stream.read(_SAMPLE_BYTES), _suffix(file.path))
        if found and found[0] not in warned:
            warned.add(found[0])
            message = '%s: this is probably %s, whose %s becomes text under format = "%s"; %s'
            logger.warning(message, file.path, found[0], found[1], corpus.format, found[2])


def format_of(sample: bytes) -> str | None:
    """Return the format of a file that begins like this, after decompression; None for text and for tables as text."""
    starts = (*_BINARY_STARTS, *((start, name) for start, _, name in _STARTS))
    return next((name for start, name in starts if re.match(start, sample.lstrip(_BLANKS), re.I)), None)


def _sampled(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Return a few files, and the first one with each suffix that tells something."""
    suffixes = {suffix for kind in _KINDS for suffix in kind.suffixes}
    spread = files[:: max(1, len(files) // _SAMPLED_FILES)][:_SAMPLED_FILES]
    telling = {_suffix(file.path): file for file in reversed(files)}
    chosen = {*spread, *(file for suffix, file in telling.items() if suffix in suffixes)}
    return sorted(chosen, key=lambda file: file.path)


def _suffix(path: str) -> str:
    name = PurePath(path)
    return (PurePath(name.stem) if is_compressed(path) else name).suffix.lower()


def _markup(sample: bytes, suffix: str) -> tuple[str, str, str] | None:
    """Return what the file is, the part of it that is no prose, and the fix; None for prose."""
    text = sample.lstrip(_BLANKS)
    for start, name, form in _STARTS:
        if re.match(start, text, re.I):
            fix = f'set format = "{form}" for this corpus' + (", and its text_field" if form == "jsonl" else "")
            return name, "markup", fix
    kinds = sorted(_KINDS, key=lambda kind: suffix not in kind.suffixes)
    kind = next((kind for kind in kinds if text and kind.is_kind_of(text, suffix)), None)
    return (kind.name, kind.part, kind.fix) if kind else None
