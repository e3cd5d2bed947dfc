"""What the documentation prints: commands and recipes of fenced blocks, and the lines of `--help`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import typer.main
from typer.testing import CliRunner

from launch.cli import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "launch" / "README.md", *sorted((ROOT / "launch" / "docs").rglob("*.md")))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"(bertrain [a-z]|torchrun -|bash |python3? |pip |\.venv/bin/\w+)")


@dataclass(frozen=True)
class Printed:
    """A command, or a recipe, and the place where it is printed."""

    place: str
    text: str


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [text for name, text in FENCED.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> list[Printed]:
    """Return the lines of the page's `bash` blocks, with the comments that follow them."""
    place = page.relative_to(ROOT).as_posix()
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [Printed(place, line) for line in lines if line.strip() and not line.startswith("#")]


def unfenced(page: Path) -> list[str]:
    """Return commands in indented blocks or in fences of another language, which the walk would miss."""
    text = page.read_text(encoding="utf-8")
    others = [line for name, block in FENCED.findall(text) if name != "bash" for line in block.splitlines()]
    indented = re.findall(r"^    (.*)$", FENCED.sub("", text), re.MULTILINE)
    return [line for line in (*others, *indented) if PROGRAM.match(line.strip())]


@cache
def help_pages() -> dict[str, str]:
    """Return what `bertrain COMMAND --help` prints on a wide terminal; under "" the page of `bertrain` itself."""
    names = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # it is a group
    runner = CliRunner(env={"COLUMNS": "400", "TERMINAL_WIDTH": "400"})
    return {name: runner.invoke(app, [*([name] if name else []), "--help"]).stdout for name in ("", *names)}


def examples() -> Iterator[Printed]:
    """Yield the example lines of all help pages."""
    for name, page in help_pages().items():
        for line in page.splitlines():
            if re.match(r" (bertrain|torchrun) ", line):
                yield Printed(f"bertrain {name} --help".replace("  ", " "), line.strip())
