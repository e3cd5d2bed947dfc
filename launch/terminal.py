"""Console output: colours on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console


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
