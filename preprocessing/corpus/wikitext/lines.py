"""From the rendered text of a page to its lines: paragraphs, headings, and list items, without traces of markup."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterable, Iterator

from preprocessing.corpus.wikitext.gaps import is_only_gaps
from preprocessing.corpus.wikitext.quotes import without_quotes

_OWN_LINE = " \t*#:;|!{="  # first characters of lines that are not running text
_LEFT_OVER = re.compile(r"\[\[|\]\]|\{\{+|\}\}+|</?[a-z][^<>\n]*>", re.I)
_SWITCH = re.compile(r"__([^\W_](?:\w{0,40}[^\W_])?)__")  # __NOTOC__, in any language
_ARGUMENTS = re.compile(r"\|\s?[\w-]{1,30}\s?=.*")  # of a template that is not closed
_VARIANT_MARK = re.compile(r"-\{(?:[^{}|]*\|)?|\}-")  # of Chinese words, not closed
_LIST_MARK = re.compile(r"(?:[*#:;\s]|-{4,})+")
_TABLE_LINE = re.compile(r"\{\||\||!")
_AFTER_OPENING = re.compile(r"([(\[])[\s,;:]+(?:(?:or|and|also)[\s,;:]+)?")
_BEFORE_CLOSING = re.compile(r"(?<![\s,;:])[\s,;:]+(?=[)\]])")
_EMPTY_BRACKETS = re.compile(r"\s?(?:\(\)|\[\]|（）)")
_BEFORE_STOP = re.compile(r"\s(?=[,.;:!?](?:\s|$))")
_ORPHANED_START = re.compile(r"(?:[,;:.–—]+\s)+")
_DOUBLED_COMMA = re.compile(r"([,;:])(?:\s?,)+")
_STOPPED_COMMA = re.compile(r"[,;:]\s?(?=\.(?:\s|$))")
# Most lines have no traces of dropped markup. A search for a substring is much faster than one for a pattern.
_MARKS_LEFT_OVER = ("<", "[[", "]]", "{{", "}}")
_ANY_BRACKET = ("(", "[", ")", "]", "（")
_STOPS = (" ,", " .", " ;", " :", " !", " ?", ",,", ";,", ":,", ",.", ";.", ":.")


def readable_lines(rendered: str, apparatus: Collection[str], fill_gaps: Callable[[str], str]) -> Iterator[str]:
    """Yield the lines that a reader would read. `fill_gaps` replaces the marks that unknown templates left in a line.

    Omits headings without text below, and sections with a title in `apparatus`, such as references.
    """
    headings: list[tuple[int, str]] = []  # level and title of the headings above the next line
    used = 0  # the number of headings already yielded
    is_omitted = False
    for raw_line in _paragraphs(rendered):
        if level := _heading_level(raw_line):
            title = _tidy(raw_line.strip()[level:-level], fill_gaps)
            headings = [*(above for above in headings if above[0] < level), (level, title)]
            used = min(used, len(headings) - 1)
            is_omitted = any(_is_apparatus(title, apparatus) for _, title in headings)
        elif (line := _tidy(raw_line, fill_gaps)) and not is_omitted:
            yield from (title for _, title in headings[used:] if title)
            yield line
            used = len(headings)


def _paragraphs(rendered: str) -> Iterator[str]:
    """Yield the lines, with consecutive lines of running text joined into one paragraph, as in MediaWiki."""
    paragraph: list[str] = []
    for line in map(without_quotes, rendered.split("\n")):
        if line and line[0] not in _OWN_LINE and not is_only_gaps(line):
            paragraph.append(line)
            continue
        if paragraph:
            yield " ".join(paragraph)
            paragraph = []
        yield line
    if paragraph:
        yield " ".join(paragraph)


def _heading_level(line: str) -> int:
    """Return the level of a heading, or 0 for another line. `== Title ==` has the level 2."""
    if not line.startswith("="):
        return 0
    line = line.strip()
    marks = min(len(line) - len(line.lstrip("=")), len(line) - len(line.rstrip("=")))
    return min(marks, 6) if line.strip("=") else 0


def _is_apparatus(title: str, apparatus: Collection[str]) -> bool:
    return title.lower().rstrip(" :") in apparatus


def _tidy(line: str, fill_gaps: Callable[[str], str]) -> str:
    """Remove the traces of dropped markup from a rendered line: empty brackets, orphaned commas, bullets."""
    if mark := _LIST_MARK.match(line):
        line = line[mark.end() :]
    if _TABLE_LINE.match(line):
        return ""
    if _has(line, _MARKS_LEFT_OVER):
        line = _LEFT_OVER.sub("", line)
    if "__" in line:
        line = _SWITCH.sub(lambda switch: "" if switch[1] == switch[1].upper() else switch[0], line)
    line = fill_gaps(" ".join(html.unescape(line).split()))
    if "|" in line:
        line = _ARGUMENTS.sub("", line).replace("||", " ")
    if "-{" in line:
        line = _VARIANT_MARK.sub("", line)
    line = _without_traces(line)
    return line if any(map(str.isalpha, line)) else ""


def _without_traces(line: str) -> str:
    """Remove empty brackets, and blanks and commas that stand in front of other punctuation."""
    has_brackets = _has(line, _ANY_BRACKET)
    if has_brackets:
        line = _BEFORE_CLOSING.sub("", _AFTER_OPENING.sub(r"\1", line))
    if has_brackets or _has(line, _STOPS):
        line = _DOUBLED_COMMA.sub(r"\1", line)
        line = _STOPPED_COMMA.sub("", _BEFORE_STOP.sub("", _EMPTY_BRACKETS.sub("", line)))
    if start := _ORPHANED_START.match(line):
        line = line[start.end() :]
    return " ".join(line.split())


def _has(line: str, parts: Iterable[str]) -> bool:
    for part in parts:  # noqa: SIM110  # `any` takes three times as long
        if part in line:
            return True
    return False
