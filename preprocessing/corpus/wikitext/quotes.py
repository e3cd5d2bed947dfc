"""Bold and italic marks of a line, balanced as MediaWiki's `Parser::doQuotes` does."""

from __future__ import annotations

import re

SEPARATOR = "\x07"  # between apostrophes that only the removal of markup brought together; XML forbids it
_RUN = re.compile("('{2,})")


def without_quotes(line: str) -> str:
    """Return the line without the marks of bold and italic text. Apostrophes of the text stay: `l'''X''` gives l'X."""
    if "''" not in line:
        return line.replace(SEPARATOR, "")
    pieces = _RUN.split(line)
    for mark in range(1, len(pieces), 2):
        length = len(pieces[mark])
        apostrophes = 1 if length == 4 else max(0, length - 5)
        pieces[mark - 1] += "'" * apostrophes
        pieces[mark] = "'" * (length - apostrophes)
    _take_back_one(pieces)
    return "".join(pieces[::2]).replace(SEPARATOR, "")


def _take_back_one(pieces: list[str]) -> None:
    """If bold and italic marks are both odd in number, read one bold mark as an apostrophe and an italic mark.

    The first one after a word of a single letter is taken, else after a longer word, else after a blank.
    """
    lengths = [len(mark) for mark in pieces[1::2]]
    if sum(length in (3, 5) for length in lengths) % 2 == 0 or sum(length in (2, 5) for length in lengths) % 2 == 0:
        return
    bold = [place for place in range(1, len(pieces), 2) if len(pieces[place]) == 3]
    if bold:
        chosen = min(bold, key=lambda place: _rank(pieces[place - 1]))
        pieces[chosen - 1] += "'"


def _rank(before: str) -> int:
    if before[-1:] == " ":
        return 2
    return 0 if before[-2:-1] == " " else 1
