"""The terminal: text in colour where it is one, plain lines where it is not."""

from __future__ import annotations

import importlib.util
import sys

from rich.console import Console

from configs.errors import UserError


def console() -> Console:
    """Standard output; long lines are never cut."""
    return Console(highlight=False, soft_wrap=True)


def show_toml(text: str) -> None:
    """TOML, coloured on a terminal."""
    if not console().is_terminal:
        sys.stdout.write(text)
        return
    from rich.syntax import Syntax

    console().print(Syntax("", "toml", theme="ansi_dark", background_color="default").highlight(text), end="")


def needed(package: str, *, extra: str) -> None:
    """`UserError` unless a package is there that one of bertrain's extras brings."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed", fix=f"install it with: pip install 'bertrain[{extra}]'")
