"""Console output: colours on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Literal

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """Return a console on standard output that never cuts long lines."""
    return Console(highlight=False, soft_wrap=True)


def plain_table(
    *headings: str,
    justify: Literal["left", "right"] = "left",
    show_header: bool = True,
    title: str | None = None,
    title_style: str | None = None,
) -> Table:
    """Return a table without lines. Where the screen is too narrow, a cell is folded, and never cut.

    `justify` holds for all columns but the first.
    """
    made = Table(
        box=None,
        pad_edge=False,
        show_header=show_header,
        title=title,
        title_justify="left",
        title_style=title_style,
    )
    for number, heading in enumerate(headings):
        made.add_column(heading, overflow="fold", justify=justify if number else "left")
    return made


def show_toml(text: str) -> None:
    """Print TOML, with syntax colours on a terminal."""
    if not console().is_terminal:
        sys.stdout.write(text)
        return
    from rich.syntax import Syntax

    console().print(Syntax("", "toml", theme="ansi_dark", background_color="default").highlight(text), end="")
