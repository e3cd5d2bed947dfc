"""Fold long console lines, so that a terminal, a mail or a log viewer shows them whole."""

from __future__ import annotations

import textwrap

WIDTH = 100  # characters
SEPARATOR = " | "
INDENT = " " * 9  # of the lines that continue one; the summary's columns begin there


def fold(text: str, width: int = WIDTH) -> str:
    """Return a line as lines of at most `width` characters, broken at ` | ` or else at words.

    A word that is longer, such as a path, stays whole.
    """
    lines, line = [], ""
    for part in text.split(SEPARATOR):
        joined = f"{line}{SEPARATOR}{part}" if line else part
        if line and len(joined) > width:
            lines.append(line)
            joined = INDENT + part
        line = joined
    return "\n".join(folded for each in [*lines, line] for folded in _at_words(each, width))


def _at_words(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    return textwrap.wrap(
        line, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
