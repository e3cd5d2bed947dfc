"""MediaWiki markup to the text that a reader of the page sees: a line a paragraph, heading or list item.

Kept: running text, link texts, list items, headings of sections that hold text, and those templates that only dress up
running text. Dropped: other templates, tables, references, files, categories, formulas, galleries, comments, and in
English the sections at a page's end that only list titles and links.
"""

from __future__ import annotations

import html
import re

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

# Elements whose content is no running text. They go before parsing, which halves the time.
_HIDDEN_NAMES = (
    "ref|references|math|chem|ce|gallery|timeline|imagemap|score|hiero|graph|mapframe|maplink|templatedata|inputbox|"
    "source|syntaxhighlight|pre|includeonly|noinclude|section|categorytree|indicator"
)
_HIDDEN = re.compile(
    rf"<!--.*?-->|<({_HIDDEN_NAMES})\b(?:[^<>\"']|\"[^\"<>]*\"|'[^'<>]*')*?(?:/>|>.*?</\1\s*>)", re.S | re.I
)
_LONE_PREFIXED_LINK = re.compile(r"^\[\[[^\[\]|:\n]+:[^\[\]|\n]*(?:\|[^\[\]|\n]*)?\]\][ \t]*$", re.M)
_FILE = re.compile(r":.*\.(jpe?g|png|svg|gif|tiff?|web[mp]|og[agv]|mp[34]|wav|flac|pdf|djvu|midi?)\s*$", re.S | re.I)
_UNSEEN_NAMESPACE = re.compile(r"\s*(file|image|category|media)\s*:", re.I)

# Templates that show one of their arguments as running text: which one (-1: the last).
_SHOWN_ARGUMENT = {
    "abbr": 1, "angbr": 1, "big": 1, "blockquote": 1, "cquote": 1, "em": 1, "flag": 1, "ill": 1, "key press": 1,
    "keypress": 1, "lang": 2, "langx": 2, "larger": 1, "linktext": 1, "mono": 1, "nobold": 1, "nobr": 1, "noitalic": 1,
    "not a typo": 1, "nowrap": 1, "quote": 1, "sc": 1, "sic": 1, "small": 1, "smallcaps": 1, "smaller": 1, "strong": 1,
    "sub": 1, "sup": 1, "tooltip": 1, "transl": -1, "transliteration": -1, "tt": 1, "var": 1, "vr": 1,
}  # fmt: skip
# Templates that stand for a few characters.
_SHOWN_TEXT = {
    "'": "'", "'s": "'s", "\"": '"', "=": "=", "--": "—", "·": " · ", "c.": "c. ", "circa": "c. ", "dot": " · ",
    "em dash": "—", "en dash": "–", "mdash": "—", "mdashb": " — ", "nbsp": " ", "ndash": "–", "snd": " – ",
    "spaced en dash": " – ", "spaced ndash": " – ",
}  # fmt: skip
_BETWEEN_QUANTITIES = frozenset({"to", "-", "–", "and", "or", "by", "x", "×"})

_APPARATUS = frozenset(
    {"bibliography", "citations", "external links", "footnotes", "further reading", "gallery", "notes"}
    | {"notes and references", "references", "see also", "sources", "works cited"}
)

_HEADING_MARK = "\x02"  # XML forbids it, so no page holds it
_LEFT_OVER = re.compile(r"__[A-Z]{3,}__|'{2,}|\[\[|\]\]|\{\{|\}\}|</?[a-z][^<>\n]*>", re.I)
_LIST_MARK = re.compile(r"^[*#:;\s]+")
_TABLE_LINE = re.compile(r"\{\||\||!")
_AFTER_OPENING = re.compile(r"(?<=[(\[])[\s,;:]+(?:(?:or|and|also)[\s,;:]+)?")
_BEFORE_CLOSING = re.compile(r"[\s,;:]+(?=[)\]])")
_EMPTY_BRACKETS = re.compile(r"\s*(?:\(\)|\[\])")
_BEFORE_STOP = re.compile(r"\s+(?=[,.;:!?](?:\s|$))")
_ORPHANED_START = re.compile(r"^(?:[,;:.–—]+\s+)+")
_DOUBLED_COMMA = re.compile(r",(?:\s*,)+")


def plain_text(wikitext: str) -> str:
    """The readable text of a page's wikitext. A heading over nothing (only references, say) is left out."""
    source = _LONE_PREFIXED_LINK.sub("", _HIDDEN.sub("", wikitext))
    rendered = _render(mwparserfromhell.parse(source, skip_style_tags=True))
    lines: list[str] = []
    headings: list[tuple[int, str]] = []  # level and title of those over the coming line
    used = 0  # so many of them have been given
    for raw_line in rendered.split("\n"):
        if raw_line.startswith(_HEADING_MARK):
            level, title = int(raw_line[1]), _tidy(raw_line[2:])
            headings = [*(above for above in headings if above[0] < level), (level, title)]
            used = min(used, len(headings) - 1)
        elif (line := _tidy(raw_line)) and not any(title.lower() in _APPARATUS for _, title in headings):
            lines += [title for _, title in headings[used:] if title]
            lines.append(line)
            used = len(headings)
    return "\n".join(lines)


def _render(code: Wikicode | None) -> str:
    return "".join(map(_render_node, code.nodes)) if code is not None else ""


def _render_node(node: Node) -> str:
    """What a reader sees of one node; comments, arguments and whatever else there is show nothing."""
    match node:
        case Text():
            return str(node.value)
        case Wikilink():
            return _render_link(node)
        case Tag():
            return _render_tag(node)
        case Template():
            return _render_template(node)
        case Heading():
            return f"\n{_HEADING_MARK}{node.level}{_render(node.title).strip()}\n"
        case HTMLEntity():
            return str(node.normalize())
        case ExternalLink():
            return _render(node.title)
    return ""


def _render_link(link: Wikilink) -> str:
    target = str(link.title)
    if _UNSEEN_NAMESPACE.match(target) or _FILE.search(target):
        return ""
    if link.text is not None:
        return _render(link.text)
    return target.strip().removeprefix(":").split("#")[0].replace("_", " ")


def _render_tag(tag: Tag) -> str:
    name = str(tag.tag).strip().lower()
    if name in ("table", "br", "hr"):
        return "\n"
    if name in _HIDDEN_NAMES.split("|"):  # where its markup was too odd to be found before
        return ""
    text = _render(tag.contents)
    return f"\n{text}\n" if name in ("div", "p", "blockquote", "poem", "ul", "ol", "center") else text


def _render_template(template: Template) -> str:
    name = str(template.name).strip().lower().replace("_", " ")
    shown = [_render(parameter.value).strip() for parameter in template.params if not parameter.showkey]
    if name in _SHOWN_TEXT:
        return _SHOWN_TEXT[name] + "".join(shown[:1])
    if name in ("convert", "cvt"):
        return _quantity(shown)
    if name == "as of":
        return " ".join(["as of" if template.has("lc") else "As of", *shown[:1]])
    if name == "frac":
        return {0: "", 1: "1/"}.get(len(shown), " ".join(shown[:-2]) + " ") + "/".join(shown[-2:])
    which = 1 if name.startswith("lang-") else _SHOWN_ARGUMENT.get(name)
    if which is None or not shown:
        return ""
    return shown[-1] if which == -1 or which > len(shown) else shown[which - 1]


def _quantity(shown: list[str]) -> str:
    """`5|km|mi` is read as 5 km, `5|to|7|km|mi` as 5 to 7 km."""
    size = 4 if len(shown) > 3 and shown[1] in _BETWEEN_QUANTITIES else 2
    return " ".join(shown[:size])


def _tidy(line: str) -> str:
    """One rendered line without what dropped markup leaves behind: empty brackets, orphaned commas, quotes, bullets."""
    line = _LIST_MARK.sub("", line)
    if _TABLE_LINE.match(line):
        return ""
    line = _LEFT_OVER.sub("", line)
    line = _DOUBLED_COMMA.sub(",", _BEFORE_CLOSING.sub("", _AFTER_OPENING.sub("", line)))
    line = _ORPHANED_START.sub("", _BEFORE_STOP.sub("", _EMPTY_BRACKETS.sub("", line)))
    line = " ".join(html.unescape(line).split())
    return line if any(map(str.isalnum, line)) else ""
