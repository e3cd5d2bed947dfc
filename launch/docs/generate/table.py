"""Markdown of generated pages: tables, and code in them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Return the text as code; text with backticks gets more of them around it."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def note(page: str, source: str) -> str:
    """Return a page's head: its title, and what it is generated from."""
    return f"# {page}\n\nGenerated from {source} when this site is built.\n\n"


def prose(text: str) -> str:
    """Return words in which Markdown and HTML find no markup outside of code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _escaped(text: str) -> str:
    """Return plain words; Markdown has no backslash for the signs of HTML."""
    return re.sub(r"([*_\[\]#])", r"\\\1", html.escape(text, quote=False))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
