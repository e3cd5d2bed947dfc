"""Convert MediaWiki markup to the text that a reader of the page sees, one line per paragraph, heading or list item.

Kept: running text, link texts, list items, headings of sections that hold text, and templates that only format running
text. Dropped: other templates, tables, references, files, categories, all but the simplest formulas, galleries,
comments, and in English the sections at the end of a page that only list titles and links.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from preprocessing.corpus.templates import template_text

# Elements whose content is not running text. They are removed before parsing, which halves the time.
_HIDDEN_NAMES = (
    "ref|references|math|chem|ce|gallery|timeline|imagemap|score|hiero|graph|mapframe|maplink|templatedata|inputbox|"
    "source|syntaxhighlight|pre|includeonly|noinclude|section|categorytree|indicator"
)
_HIDDEN = re.compile(
    rf"<!--.*?-->|<({_HIDDEN_NAMES})\b(?:[^<>\"']|\"[^\"<>]*\"|'[^'<>]*')*?(?:/>|>(.*?)</\1\s*>)", re.S | re.I
)
_SIMPLE_FORMULA = re.compile(r"[\w\s~=+*/.,:;'()!^-]{1,40}")  # TeX without a command
_VARIANTS = re.compile(r"-\{(?:([^{}|]*)\|)?([^{}]*)\}-")  # of Chinese words, by region
_LONE_PREFIXED_LINK = re.compile(r"^\[\[[^\[\]|:\n]+:[^\[\]|\n]*(?:\|[^\[\]|\n]*)?\]\][ \t]*$", re.M)
_FILE = re.compile(r":.*\.(jpe?g|png|svg|gif|tiff?|web[mp]|og[agv]|mp[34]|wav|flac|pdf|djvu|midi?)\s*$", re.S | re.I)
_UNSEEN_NAMESPACE = re.compile(r"\s*(file|image|category|media)\s*:", re.I)

_APPARATUS = frozenset(
    {"bibliography", "citations", "external links", "footnotes", "further reading", "gallery", "notes"}
    | {"notes and references", "references", "see also", "sources", "works cited"}
)

_HEADING_MARK = "\x02"  # XML forbids it, so no page holds it
_OWN_LINE = " \t*#:;|!{" + _HEADING_MARK  # first characters of lines that are not running text
_BLOCK_NAMES = frozenset({"div", "p", "blockquote", "poem", "ul", "ol", "li", "dt", "dd", "center"})
_LEFT_OVER = re.compile(r"__[A-Z]{3,}__|'{2,}|\[\[|\]\]|\{\{|\}\}|</?[a-z][^<>\n]*>", re.I)
_LIST_MARK = re.compile(r"^[*#:;\s]+")
_TABLE_LINE = re.compile(r"\{\||\||!")
_AFTER_OPENING = re.compile(r"(?<=[(\[])[\s,;:]+(?:(?:or|and|also)[\s,;:]+)?")
_BEFORE_CLOSING = re.compile(r"[\s,;:]+(?=[)\]])")
_EMPTY_BRACKETS = re.compile(r"\s*(?:\(\)|\[\])")
_BEFORE_STOP = re.compile(r"\s+(?=[,.;:!?](?:\s|$))")
_ORPHANED_START = re.compile(r"^(?:[,;:.–—]+\s+)+")
_DOUBLED_COMMA = re.compile(r"([,;:])(?:\s*,)+")
_STOPPED_COMMA = re.compile(r"[,;:]\s*(?=\.(?:\s|$))")


def plain_text(wikitext: str) -> str:
    """Return the readable text of a page's wikitext. Headings without text below (references only, say) are omitted."""
    source = _LONE_PREFIXED_LINK.sub("", _VARIANTS.sub(_one_variant, _HIDDEN.sub(_simple_formula, wikitext)))
    rendered = _render(mwparserfromhell.parse(source, skip_style_tags=True))
    lines: list[str] = []
    headings: list[tuple[int, str]] = []  # level and title of the headings above the next line
    used = 0  # the number of headings already added to `lines`
    for raw_line in _paragraphs(rendered):
        if raw_line.startswith(_HEADING_MARK):
            level, title = int(raw_line[1]), _tidy(raw_line[2:])
            headings = [*(above for above in headings if above[0] < level), (level, title)]
            used = min(used, len(headings) - 1)
        elif (line := _tidy(raw_line)) and not any(title.lower() in _APPARATUS for _, title in headings):
            lines += [title for _, title in headings[used:] if title]
            lines.append(line)
            used = len(headings)
    return "\n".join(lines)


def _simple_formula(hidden: re.Match[str]) -> str:
    content = hidden[2]
    is_formula = content is not None and hidden[1].lower() == "math" and _SIMPLE_FORMULA.fullmatch(content)
    return re.sub(r"[_^]", "", content).replace("~", " ").strip() if is_formula else ""


def _one_variant(marked: re.Match[str]) -> str:
    """Return the first variant of `-{zh-cn:软件; zh-tw:軟體}-`, the text of `-{text}-`, and "" for a mere rule."""
    flag, text = marked.groups()
    if flag is not None and flag.strip() in ("H", "T", "D", "N", "-"):
        return ""
    return text.split(";")[0].split(":", 1)[-1].strip() if re.match(r"\s*zh(-\w+)?\s*:", text) else text


def _paragraphs(rendered: str) -> Iterator[str]:
    """Yield the lines, with consecutive lines of running text joined into one paragraph, as in MediaWiki."""
    paragraph: list[str] = []
    for line in rendered.split("\n"):
        if line and line[0] not in _OWN_LINE:
            paragraph.append(line)
            continue
        if paragraph:
            yield " ".join(paragraph)
            paragraph = []
        yield line
    if paragraph:
        yield " ".join(paragraph)


def _render(code: Wikicode | None) -> str:
    return "".join(map(_render_node, code.nodes)) if code is not None else ""


def _render_node(node: Node) -> str:
    """Return the text that a reader sees of one node. Comments, arguments and other nodes show nothing."""
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
        return "\n\n"
    if name in ("li", "dt", "dd") and tag.wiki_markup:
        return str(tag.wiki_markup)
    if name in _HIDDEN_NAMES.split("|"):  # `_HIDDEN` does not match unusual markup
        return ""
    text = _render(tag.contents)
    if name == "poem":
        text = text.replace("\n", "\n\n")
    return f"\n\n{text}\n\n" if name in _BLOCK_NAMES else text


def _render_template(template: Template) -> str:
    name = " ".join(str(template.name).lower().replace("_", " ").split())
    return template_text(
        name, {str(each.name).strip().lower(): _render(each.value).strip() for each in template.params}
    )


def _tidy(line: str) -> str:
    """Remove the traces of dropped markup from a rendered line: empty brackets, orphaned commas, quotes, bullets."""
    line = _LIST_MARK.sub("", line)
    if _TABLE_LINE.match(line):
        return ""
    line = _LEFT_OVER.sub("", line)
    line = _DOUBLED_COMMA.sub(r"\1", _BEFORE_CLOSING.sub("", _AFTER_OPENING.sub("", line)))
    line = _STOPPED_COMMA.sub("", _BEFORE_STOP.sub("", _EMPTY_BRACKETS.sub("", line)))
    line = _ORPHANED_START.sub("", line)
    line = " ".join(html.unescape(line).split())
    return line if any(map(str.isalpha, line)) else ""
