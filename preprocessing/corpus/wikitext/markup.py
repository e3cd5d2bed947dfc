"""Replace templates, links, and tables by the text that they show, in one pass over the source.

Markup that is not closed, or closed in the wrong order, shows its text, as far as a reader would want it. Nothing is
read twice, so the time is linear in the length of a page, whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_MOST_LEVELS = 100  # MediaWiki allows 40 levels of templates
_MARK = (
    r"\{\{+|\}\}+|\[\[|\[(?:(?:https?:|ftp:)?//|mailto:)[^\s<>\[\]{}|\"]*[ \t]*|\]+|\||="
    r"|\n[ \t:*#]{0,40}\{\|(?!\})|\n[ \t:]{0,40}\|\}(?!\})|https?://[^\s<>\[\]{}|\"\x03\x04]+"
)
# Links and templates in one line without markup inside are one token: most are, and they need no frame.
_MARKS = re.compile(f"({_MARK})")
_TOKENS = re.compile(rf"(\[\[[^\[\]{{}}\n]*\]\]|\{{\{{[^\[\]{{}}\n]*\}}\}}(?!\}})|{_MARK})")
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
    searched: int = 0  # how much of the text is known to have no line end

    def is_broken_target(self) -> bool:
        """Return whether this is a link whose target holds a line end, which no target does."""
        if self.mark != "[[" or self.parts:
            return False
        new, self.searched = self.text[self.searched :], len(self.text)
        return any("\n" in text for text in new)

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
        self._act: dict[str, Callable[[str, int], None]] = {
            "{": self._open_braces,
            "}": self._close_braces,
            "[": self._open_bracket,
            "]": self._close_bracket,
            "|": self._pipe,
            "=": self._equals,
            "\n": self._table,
            "h": self._url,
        }

    def render(self) -> str:
        """Return the text that the page shows, with headings, list marks, and quotes as in the source."""
        self._read(self._source, _TOKENS, 0)
        while len(self._stack) > 1:
            self._give_up()
        return "".join(self._stack[0].text)

    def _read(self, source: str, tokens: re.Pattern[str], position: int) -> None:
        """Render a part of the source, which begins at `position`."""
        stack, act = self._stack, self._act
        is_token = False
        for piece in tokens.split(source):
            if is_token:
                act[piece[0]](piece, position)
            elif piece:
                stack[-1].text.append(piece)
            position += len(piece)
            is_token = not is_token

    def _push(self, mark: str, start: int, braces: int = 0) -> None:
        self._refuse_depth()
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

    def _refuse_depth(self) -> None:
        if len(self._stack) > _MOST_LEVELS:
            raise UnparsableError

    def _open_braces(self, mark: str, start: int) -> None:
        if mark[-1] == "{":
            self._push("{{", start, len(mark))
        elif "://" in mark:
            self._read(mark, _MARKS, start)
        else:
            self._refuse_depth()
            name, *parts = mark[2:-2].split("|")
            pairs = (part.partition("=") for part in parts)
            named = [(key.strip().lower(), value) if equals else (None, key) for key, equals, value in pairs]
            self._stack[-1].text.append(self._show_template(name, _arguments(named), False))

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
        arguments = _arguments(zip(frame.names[1:], frame.parts[1:], strict=True))
        return self._show_template(frame.parts[0], arguments, self._source.find("\n", frame.start, end) >= 0)

    def _open_bracket(self, mark: str, start: int) -> None:
        top = self._stack[-1]
        if mark[-1] == "]" and "://" in mark:
            self._read(mark, _MARKS, start)
            return
        is_address = mark[1] != "["
        if (top.mark == "[" and is_address) or top.is_broken_target():
            self._give_up()  # an address holds no other address
        if mark[-1] == "]":
            self._refuse_depth()
            target, *labels = mark[2:-2].split("|")
            self._stack[-1].text.append(self._show_link(target, labels[-1] if labels else None))
        else:
            self._push("[" if is_address else "[[", start)

    def _close_bracket(self, mark: str, _start: int) -> None:
        left = len(mark)
        while left:
            top = self._stack[-1]
            if top.mark == "[":
                self._give_up()  # shows its label
                left -= 1
            elif top.mark == "[[" and left >= 2:
                self._close_link()
                left -= 2
            else:
                top.text.append("]")
                left -= 1

    def _close_link(self) -> None:
        frame = self._stack.pop()
        frame.end_part()
        label = frame.parts[-1] if len(frame.parts) > 1 else None
        shown = frame.parts[0] if "\n" in frame.parts[0] else self._show_link(frame.parts[0], label)
        self._stack[-1].text.append(shown)

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


def _arguments(named: Iterable[tuple[str | None, str]]) -> dict[str, str]:
    """Return the arguments of a template by name, or by their number where they have none."""
    arguments: dict[str, str] = {}
    number = 0
    for name, value in named:
        if name is None:
            number += 1
        arguments[name or str(number)] = value.strip()
    return arguments


def _argument(frame: _Frame) -> str:
    """Return the default of `{{{name|default}}}`."""
    return frame.parts[1] if len(frame.parts) > 1 else ""
