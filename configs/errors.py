"""The exception for everything that the user can fix: recipes, data, environment."""

from __future__ import annotations

import re


class UserError(Exception):
    """An error in the user's input. The command line prints it as one line and exits with code 2.

    `cause` says what is wrong, `place` where (a file, a recipe key, a folder), and `fix` how to correct it.
    """

    def __init__(self, cause: str, *, place: str = "", fix: str = "") -> None:
        self.cause = cause
        self.place = place
        self.fix = fix
        super().__init__(cause, place, fix)  # all three as args, so that the exception can be pickled

    def __str__(self) -> str:
        what = f"{self.place}: {self.cause}" if self.place else self.cause
        parts = [part for part in (what, _with_capital(self.fix)) if part]
        sentences = [part if part.endswith(("?", "!")) else f"{part.rstrip('.')}." for part in parts]
        return " ".join(line.strip() for line in " ".join(sentences).splitlines())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.cause, self.place, self.fix)


def _with_capital(text: str) -> str:
    """Begin a sentence with a capital letter, unless it begins with a key, a path or a command."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+[ ,:;]", text) else text


def _rebuild(cause: str, place: str, fix: str) -> UserError:
    return UserError(cause, place=place, fix=fix)
