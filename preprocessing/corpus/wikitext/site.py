"""The wiki that a page comes from: its language and its names of namespaces, as the dump's siteinfo states them."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from preprocessing.corpus.wikitext.languages import LanguageFacts, facts_of, known_languages

_DATABASE = re.compile(
    r"<dbname>\s*(\w+?)(?:wiki|wiktionary|wikibooks|wikinews|wikiquote|wikisource|wikiversity|wikivoyage)\s*</dbname>"
)
_NAMESPACE = re.compile(r'<namespace\s+key="(-?\d+)"[^<>]*>([^<>]+)</namespace>')
_FILES, _CATEGORIES = ("6", "-2"), ("14",)
# Codes of other Wikipedias in links between languages, beside those of two or three letters.
_LONG_CODES = frozenset(
    {"be-tarask", "be-x-old", "bat-smg", "cbk-zam", "fiu-vro", "map-bms", "nds-nl", "roa-rup", "roa-tara", "simple"}
    | {"zh-classical", "zh-min-nan", "zh-yue"}
)
_SHORT_CODE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True)
class Site:
    """A wiki. `language` is "" if the dump does not state it."""

    language: str = ""
    file: frozenset[str] = frozenset()
    category: frozenset[str] = frozenset()

    def facts(self, language: str) -> LanguageFacts:
        """Return the facts of its language, then those of English, which all wikis borrow from.

        If the dump does not state its language, `language` does. English can mean that nobody stated it: then the
        facts of all languages apply, after those of English.
        """
        if self.language or (language != "en" and language in known_languages()):
            return facts_of((self.language or language, "en"))
        return facts_of((language, "en", *known_languages()))

    def is_hidden(self, target: str, facts: LanguageFacts) -> bool:
        """Return whether a link to the target is not part of the text: a file, a category, or another language."""
        prefix, colon, rest = target.partition(":")
        if not colon:
            return False
        namespace = " ".join(prefix.replace("_", " ").split()).lower()
        if any(namespace in names for names in (self.file, self.category, facts.file, facts.category)):
            return True
        is_code = _SHORT_CODE.fullmatch(prefix) is not None or prefix in _LONG_CODES
        return is_code and rest[:1] not in ("", " ")


def parse_site(head: str) -> Site:
    """Return the site of a dump from the XML before its first page."""
    database = _DATABASE.search(head)
    names: dict[str, set[str]] = {}
    for key, name in _NAMESPACE.findall(head):
        names.setdefault(key, set()).add(html.unescape(name).strip().lower())
    return Site(
        database[1].replace("_", "-") if database else "",
        frozenset().union(*(names.get(key, ()) for key in _FILES)),
        frozenset().union(*(names.get(key, ()) for key in _CATEGORIES)),
    )
