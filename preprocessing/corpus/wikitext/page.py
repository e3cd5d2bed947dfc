"""Convert MediaWiki markup to the text that a reader of the page sees, one line per paragraph, heading or list item.

Kept: running text, link texts, list items, headings of sections that hold text, and templates that format running text.
Dropped: boxes, notes, and other templates beside the text, tables, references, files, categories, all but the simplest
formulas, galleries, comments, and the sections at the end of a page that only list titles and links. A sentence with a
template in it that is not known is dropped, unless the template can leave its text.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from preprocessing.corpus.wikitext.elements import without_elements
from preprocessing.corpus.wikitext.gaps import Gaps, without_marks
from preprocessing.corpus.wikitext.lines import readable_lines
from preprocessing.corpus.wikitext.markup import Markup
from preprocessing.corpus.wikitext.quotes import SEPARATOR
from preprocessing.corpus.wikitext.site import Site
from preprocessing.corpus.wikitext.templates import Templates

_CONTROLS = [chr(code) for code in range(1, 9)]  # XML forbids them; some mark places here
_VARIANTS = re.compile(r"-\{(?:([^{}|]*)\|)?([^{}]*)\}-")  # of Chinese words, by region
_FILE = re.compile(r"\.(jpe?g|png|svg|gif|tiff?|web[mp]|og[agv]|mp[34]|wav|flac|pdf|djvu|midi?)$", re.I)
_NO_TEMPLATES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PageText:
    """The text of a page, and what became of unknown templates, by cause."""

    text: str
    counts: Counter[str] = field(default_factory=Counter)


def page_text(
    wikitext: str, site: Site, templates: Mapping[str, str] = _NO_TEMPLATES, language: str = "en"
) -> PageText:
    """Return the readable text of a page's wikitext. Headings without text below (references only, say) are omitted.

    `templates` are the patterns of the recipe, by name in lower case; `language` splits sentences. Takes time in
    proportion to the length of the page. Raises `UnparsableError` for markup that is nested too deeply.
    """
    facts, gaps = site.facts(language), Gaps(site.language or language)
    for control in _CONTROLS:
        wikitext = wikitext.replace(control, "")
    source = _with_one_variant(without_elements(wikitext))

    def show_link(target: str, label: str | None) -> str:
        target = without_marks(target).strip()
        if (":" in target or "&" in target) and (
            site.is_hidden(html.unescape(target), facts) or (":" in target and _FILE.search(target))
        ):
            return ""
        shown = target.removeprefix(":").split("#")[0].replace("_", " ") if label is None else label
        return f"{SEPARATOR}{shown}{SEPARATOR}" if "''" in shown else shown

    rendered = _with_one_variant(Markup(source, Templates(facts, templates).show, show_link).render())
    return PageText("\n".join(readable_lines(rendered, facts.apparatus, gaps.fill)), gaps.counts)


def plain_text(wikitext: str) -> str:
    """Return the readable text of a page of a wiki that is not known."""
    return page_text(wikitext, Site()).text


def _with_one_variant(text: str) -> str:
    return _VARIANTS.sub(_one_variant, text) if "-{" in text else text


def _one_variant(marked: re.Match[str]) -> str:
    """Return the first variant of `-{zh-cn:软件; zh-tw:軟體}-`, the text of `-{text}-`, and "" for a mere rule."""
    flag, text = marked.groups()
    if flag is not None and flag.strip() in ("H", "T", "D", "N", "-"):
        return ""
    return text.split(";")[0].split(":", 1)[-1].strip() if re.match(r"\s*zh(-\w+)?\s*:", text) else text
