"""Replace templates, links, and tables by the text that they show, in one pass over the source.

Markup that is not closed, or closed in the wrong order, shows its text, as far as a reader would want it. Nothing is
read twice, so the time is linear in the length of a page, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_MOST_LEVELS = 100  # MediaWiki allows 40 levels of templates
_TOKEN = re.compile(
    r"\{\{+|\}\}+|\[\[|\[(?=(?:https?:|ftp:)?//|mailto:)|\]|\||=|\n[ \t:*#]{0,40}\{\|(?!\})|\n[ \t:]{0,40}\|\}(?!\})"
    r"|https?://[^\s<>\[\]{}|\"\x03\x04]+"
)
_TARGET = re.compile(r"[^\s<>\[\]{}|\"]*[ \t]*")
_AFTER_URL = ".,;:!?'"

# Take a template's name and arguments, and whether it spans lines; a link's target and label (None: it has none).
ShowTemplate = Callable[[str, dict[str, str], bool], str]
ShowLink = Callable[[str, str | None], str]


class UnparsableError(Exception):
    """The page nests its markup too deeply."""


@dataclass(slots=True)
class _Frame:
    """Markup that is open: its finished parts, and the text of the current one."""

    mark: str  # "{{", "[[", "[", "{|", or "" for the page
    start: int = 0  # in the source
    braces: int = 0
    names: list[str | None] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    name: str | None = None
    text: list[str] = field(default_factory=list)

    def end_part(self) -> None:
        """Begin the next part."""
        self.names.append(self.name)
        self.parts.append("".join(self.text))
        self.name, self.text = None, []

    def literal(self) -> str:
        """Return what a reader wants of markup that is never closed."""
        self.end_part()
        if self.mark == "{{":  # without its name and its arguments in the same line
            _, line_end, rest = "|".join(self.parts).partition("\n")
            return line_end + rest
        return f"\n{{|{self.parts[-1]}" if self.mark == "{|" else self.parts[-1]


class Markup:
    """Renders one page. Raises `UnparsableError` when the page nests its markup too deeply."""

    def __init__(self, source: str, show_template: ShowTemplate, show_link: ShowLink) -> None:
        self._source = f"\n{source}"
        self._show_template = show_template
        self._show_link = show_link
        self._stack = [_Frame("")]
        self._position = 0

    def render(self) -> str:
        """Return the text that the page shows, with headings, list marks, and quotes as in the source."""
        source = self._source
        act: dict[str, Callable[[str, int], None]] = {
            "{": self._open_braces,
            "}": self._close_braces,
            "[": self._open_bracket,
            "]": self._close_bracket,
            "|": self._pipe,
            "=": self._equals,
            "\n": self._table,
            "h": self._url,
        }
        for token in _TOKEN.finditer(source):
            start = token.start()
            if start < self._position:
                continue
            if start > self._position:
                self._stack[-1].text.append(source[self._position : start])
            self._position = token.end()
            act[source[start]](token[0], start)
        self._stack[-1].text.append(source[self._position :])
        while len(self._stack) > 1:
            self._give_up()
        return "".join(self._stack[0].text)

    def _push(self, mark: str, start: int, braces: int = 0) -> None:
        if len(self._stack) > _MOST_LEVELS:
            raise UnparsableError
        self._stack.append(_Frame(mark, start, braces))

    def _give_up(self) -> None:
        """Close the innermost markup as plain text."""
        frame = self._stack.pop()
        self._stack[-1].text.append(frame.literal())

    def _encloses(self, mark: str, between: str) -> bool:
        """Return whether the innermost markup is `mark`, after giving up open markup of the kinds `between`."""
        depth = len(self._stack) - 1
        while depth and self._stack[depth].mark != mark and self._stack[depth].mark in between.split():
            depth -= 1
        if self._stack[depth].mark != mark:
            return False
        while len(self._stack) - 1 > depth:
            self._give_up()
        return True

    def _open_braces(self, mark: str, start: int) -> None:
        self._push("{{", start, len(mark))

    def _close_braces(self, mark: str, start: int) -> None:
        left = len(mark)
        while left >= 2 and self._encloses("{{", "[[ [ {|"):
            frame = self._stack.pop()
            used = min(left, frame.braces, 3)
            frame.end_part()
            shown = self._template(frame, start) if used == 2 else _argument(frame)
            left -= used
            if frame.braces - used >= 2:
                self._push("{{", frame.start, frame.braces - used)
            self._stack[-1].text.append("{" * (frame.braces - used == 1) + shown)
        self._stack[-1].text.append("}" * left)

    def _template(self, frame: _Frame, end: int) -> str:
        arguments: dict[str, str] = {}
        number = 0
        for name, value in zip(frame.names[1:], frame.parts[1:], strict=True):
            if name is None:
                number += 1
            arguments[name or str(number)] = value.strip()
        return self._show_template(frame.parts[0], arguments, self._source.find("\n", frame.start, end) >= 0)

    def _open_bracket(self, mark: str, start: int) -> None:
        top = self._stack[-1]
        if (top.mark == mark == "[") or (top.mark == "[[" and not top.parts and any("\n" in text for text in top.text)):
            self._give_up()  # an address holds no other address, and a target no line end
        self._push(mark, start)
        if mark == "[":
            found = _TARGET.match(self._source, self._position)
            self._position = found.end() if found else self._position

    def _close_bracket(self, _mark: str, start: int) -> None:
        top = self._stack[-1]
        if top.mark == "[":
            self._give_up()  # shows its label
        elif self._source.startswith("]]", start) and top.mark == "[[":
            self._position = start + 2
            frame = self._stack.pop()
            frame.end_part()
            label = frame.parts[-1] if len(frame.parts) > 1 else None
            shown = frame.parts[0] if "\n" in frame.parts[0] else self._show_link(frame.parts[0], label)
            self._stack[-1].text.append(shown)
        else:
            top.text.append("]")

    def _pipe(self, _mark: str, _start: int) -> None:
        if self._stack[-1].mark == "[" and self._stack[-2].mark:
            self._give_up()
        top = self._stack[-1]
        if top.mark in ("{{", "[["):
            top.end_part()
        else:
            top.text.append("|")

    def _equals(self, _mark: str, _start: int) -> None:
        top = self._stack[-1]
        if top.mark == "{{" and top.parts and top.name is None:
            top.name = "".join(top.text).strip().lower()
            top.text = []
        else:
            top.text.append("=")

    def _table(self, mark: str, start: int) -> None:
        if mark.endswith("{|"):
            self._push("{|", start)
        elif self._encloses("{|", "[[ [ {{"):
            self._stack.pop()
            self._stack[-1].text.append("\n\n")
        else:
            self._stack[-1].text.append("\n")
            self._pipe("|", start)
            self._stack[-1].text.append("}")

    def _url(self, mark: str, _start: int) -> None:
        """Show nothing of an address, except the punctuation after it."""
        address = mark.rstrip(_AFTER_URL if "(" in mark else _AFTER_URL + ")")
        self._stack[-1].text.append(mark[len(address) :])


def _argument(frame: _Frame) -> str:
    """Return the default of `{{{name|default}}}`."""
    return frame.parts[1] if len(frame.parts) > 1 else ""
