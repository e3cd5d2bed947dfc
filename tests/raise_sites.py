"""The places of the source that create a `UserError`, and the strings of the tests that assert what they say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from launch.docs.generate.error_sites import ANY, OR, ErrorSite

LEAST = 9  # characters by which a message is recognised


def name_of(site: ErrorSite) -> str:
    """Return the name of a site in refusals.toml; it stays when lines move."""
    return f"{site.file}:{site.function}: {' … '.join(fragments(site))}"


def fragments(site: ErrorSite) -> tuple[str, ...]:
    """Return the fixed parts of a site's cause or, if it has none, of its fix."""
    for text in (site.cause, site.fix):
        found = tuple(part for part in map(plain, re.split(f"{ANY}|{OR}", text)) if len(part) >= LEAST)
        if found:
            return found
    return ()


def asserted_strings(folder: Path) -> set[str]:
    """Return the strings in the test files, docstrings left out; of regular expressions, their literal parts."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                unescaped = re.sub(r"\\(.)", r"\1", node.value)
                found |= {plain(text) for text in (unescaped, *re.split(r"\.[*+]", unescaped))}
    return {text for text in found if len(text) >= LEAST}


def plain(text: str) -> str:
    """Return a text without differences in case and white space, and without the punctuation at its ends."""
    return " ".join(text.split()).strip(" :;,.`'\"").casefold()


def is_asserted(site: ErrorSite, strings: Iterable[str]) -> bool:
    """Return whether a string holds a fragment of the site's message, or is a part of one."""
    return any(fragment in text or text in fragment for fragment in fragments(site) for text in strings)
