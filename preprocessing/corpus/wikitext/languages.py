"""What pages hold in each language: names of namespaces, of reference sections, and of templates.

The facts are in `languages/*.toml`, one file per language. To add a language, add its file. Its keys:

    file, category    names of these namespaces, in lower case, with those that MediaWiki still accepts
    apparatus         titles of sections that only list titles and links, in lower case
    months            names of the months, as a date in running text has them
    first             templates that show their first argument
    silent            templates that show nothing; "cite*" stands for all names that begin with "cite"
    computed          templates that compute what they show, such as an age: their arguments are not their text
    references        templates that show a source, such as a book: the same, since no sentence is without its object
    named             templates that show their own name, as regular expressions
    templates         what other templates show: see `configs.schema.patterns`. Names are in lower case, except where
                      only capitals tell them from others: {{ESP}} is Spain, and {{esp}} is a blank
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from configs.schema import fill_pattern


@dataclass(frozen=True)
class LanguageFacts:
    """The facts of several languages together. Where they differ, earlier ones win."""

    file: frozenset[str]
    category: frozenset[str]
    apparatus: frozenset[str]
    _patterns: Mapping[str, tuple[str, Sequence[str]]]  # with the months of their language
    _silent: tuple[str, ...]  # beginnings of names
    _computed: re.Pattern[str] | None
    _named: re.Pattern[str] | None

    def shown(self, name: str, arguments: Mapping[str, str]) -> str | None:
        """Return the text of a template, "" if it shows nothing, or None if it is unknown."""
        known = self._patterns.get(name) or self._patterns.get(name.lower())
        if known is not None:
            return fill_pattern(known[0], arguments, known[1])
        if self._named is not None and self._named.fullmatch(name):
            return name
        return "" if name.lower().startswith(self._silent) and not self.computes(name) else None

    def computes(self, name: str) -> bool:
        """Return whether the template computes its text, or composes it of a source's particulars."""
        return self._computed is not None and self._computed.fullmatch(name) is not None


@cache
def known_languages() -> tuple[str, ...]:
    """Return the codes of the languages that have a file."""
    names = (file.name for file in files(__package__).joinpath("languages").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


@cache
def facts_of(languages: tuple[str, ...]) -> LanguageFacts:
    """Return the facts of the languages together. Codes without a file add nothing."""
    tables = [_table(code) for code in languages if code in known_languages()]
    patterns: dict[str, tuple[str, Sequence[str]]] = {}
    for table in reversed(tables):
        months = table.get("months", ())
        patterns |= {name: ("", ()) for name in table["silent"] if not name.endswith("*")}
        patterns |= dict.fromkeys(table["first"], ("{1}", ()))
        patterns |= {name: (pattern, months) for name, pattern in table["templates"].items()}
    named = [pattern for table in tables for pattern in table.get("named", ())]
    computed = [
        re.escape(name).replace(r"\*", ".*")
        for table in tables
        for key in ("computed", "references")
        for name in table.get(key, ())
    ]
    return LanguageFacts(
        file=_union(tables, "file"),
        category=_union(tables, "category"),
        apparatus=_union(tables, "apparatus"),
        _patterns=patterns,
        _silent=tuple(name[:-1] for table in tables for name in table["silent"] if name.endswith("*")),
        _computed=re.compile("|".join(computed), re.I) if computed else None,
        _named=re.compile("|".join(named), re.I) if named else None,
    )


def _union(tables: Sequence[Mapping[str, Any]], key: str) -> frozenset[str]:
    return frozenset(name for table in tables for name in table[key])


def _table(code: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("languages", f"{code}.toml").read_text("utf-8"))
