"""Console output: colours on a terminal, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys

from rich.console import Console

from configs.errors import UserError


def console() -> Console:
    """Return a console on standard output that never cuts long lines."""
    return Console(highlight=False, soft_wrap=True)


def show_toml(text: str) -> None:
    """Print TOML, with syntax colours on a terminal."""
    if not console().is_terminal:
        sys.stdout.write(text)
        return
    from rich.syntax import Syntax

    console().print(Syntax("", "toml", theme="ansi_dark", background_color="default").highlight(text), end="")


def require_package(package: str, *, extra: str) -> None:
    """Raise `UserError` unless `package`, which bertrain's `extra` installs, can be imported."""
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed", fix=f"install it with: pip install 'bertrain[{extra}]'")
