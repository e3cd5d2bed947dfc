"""Remove comments and tags from wikitext, and the elements whose content is not running text, in linear time."""

from __future__ import annotations

import re

from preprocessing.corpus.wikitext.gaps import gap
from preprocessing.corpus.wikitext.quotes import SEPARATOR

_RAW_NAMES = (  # their content is not wikitext, so it ends at the first end tag
    "nowiki|math|chem|ce|timeline|score|hiero|graph|templatedata|source|syntaxhighlight|pre"
)
_PARSED_NAMES = "ref|references|gallery|imagemap|mapframe|maplink|inputbox|includeonly|noinclude|table"
_EMPTY_NAMES = "section|categorytree|indicator"
_RAW = frozenset(_RAW_NAMES.split("|"))
_HIDDEN_TAG = re.compile(rf"<(/?)({_RAW_NAMES}|{_PARSED_NAMES}|{_EMPTY_NAMES})\b([^<>]*)>", re.I)
_TAG = re.compile(r"</?([a-z][a-z0-9]*)\b[^<>]*>", re.I)
_BLOCKS = frozenset(
    {"blockquote", "br", "center", "dd", "div", "dl", "dt", "hr", "li", "ol", "p", "poem", "td", "th", "tr", "ul"}
)
_FORMULAS = ("math", "chem", "ce")
_SIMPLE_FORMULA = re.compile(r"[\w\s~=+*/.,:;'()!^-]{1,40}")  # TeX without a command
_SPECIAL = re.compile(r"[]\[{}|='<>*#:;&_~!-]")


def without_elements(source: str) -> str:
    """Return the source without tags, comments, and hidden elements; block elements become separate paragraphs.

    An element without an end tag keeps its content. The content of `<nowiki>` becomes character references. Formulas,
    code, and other content that is no running text leave the mark of an unknown template.
    """
    return _TAG.sub(_line_ends, _separate_verses(_without_hidden(_without_comments(source))))


def _without_comments(source: str) -> str:
    """Remove comments. A line that holds only a comment is removed with its line end, as in MediaWiki."""
    parts: list[str] = []
    start = 0
    while (begin := source.find("<!--", start)) >= 0 and (end := source.find("-->", begin + 4)) >= 0:
        is_line = source[begin - 1 : begin] in ("", "\n") and source[end + 3 : end + 4] == "\n"
        parts.append(source[start:begin])
        start = end + 3 + is_line
    return "".join([*parts, source[start:]]) if parts else source


def _without_hidden(source: str) -> str:
    shown: list[str] = []
    opened: list[tuple[str, int]] = []  # name, and the number of the first part of its content
    endless: set[str] = set()  # raw names without a further end tag
    position = 0
    for tag in _HIDDEN_TAG.finditer(source):
        if tag.start() < position:
            continue
        shown.append(source[position : tag.start()])
        position = tag.end()
        name = tag[2].lower()
        if tag[1]:
            _close(name, opened, shown)
        elif name in _RAW and not tag[3].endswith("/") and name not in endless:
            end = re.compile(rf"</{name}\s*>", re.I).search(source, position)
            if end is None:
                endless.add(name)
            else:
                shown.append(_raw_content(name, source[position : end.start()]))
                position = end.end()
        elif name not in _RAW and name not in _EMPTY_NAMES and not tag[3].endswith("/"):
            opened.append((name, len(shown)))
    return "".join([*shown, source[position:]])


def _close(name: str, opened: list[tuple[str, int]], shown: list[str]) -> None:
    """Remove the content of the innermost open element of this name, if there is one."""
    for place in range(len(opened) - 1, max(-1, len(opened) - 20), -1):
        if opened[place][0] == name:
            del shown[opened[place][1] :]
            del opened[place:]
            shown.append("\n\n" if name == "table" else SEPARATOR * shown[-1].endswith("'") if shown else "")
            return


def _raw_content(name: str, content: str) -> str:
    if name in _FORMULAS and _SIMPLE_FORMULA.fullmatch(content):
        content = re.sub(r"[_^]", "", content).replace("~", " ").strip()
    elif name != "nowiki":
        return gap()
    return _SPECIAL.sub(_reference, content)


def _reference(character: re.Match[str]) -> str:
    return f"&#{ord(character[0])};"


def _separate_verses(source: str) -> str:
    """Make each line of a `<poem>` a paragraph."""
    parts: list[str] = []
    start = 0
    while (begin := source.find("<poem", start)) >= 0 and (end := source.find("</poem", begin)) >= 0:
        parts += [source[start:begin], source[begin:end].replace("\n", "\n\n")]
        start = end
    return "".join([*parts, source[start:]]) if parts else source


def _line_ends(tag: re.Match[str]) -> str:
    if tag[1].lower() in _BLOCKS:
        return "\n\n"
    return SEPARATOR if tag.string[tag.start() - 1 : tag.start()] == "'" else ""
