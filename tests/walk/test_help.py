"""The help pages: Rich's markup eats no word, and every command is listed."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
import typer.main

from launch.cli import app
from tests.walk.printed import help_pages

GROUP = typer.main.get_command(app)
STYLES = re.compile(r"(?<!\\)\[/?(?:dim|bold|cyan)?\]")  # the tags that our texts use


def sources(name: str) -> Iterator[str]:
    """Yield the texts that a command's page is made of, as they are written."""
    command = GROUP.commands[name]  # type: ignore[attr-defined]  # it is a group
    yield inspect.cleandoc(command.callback.__doc__ or "")
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""


def words(text: str) -> list[str]:
    return re.sub(r"[│╭╮╰╯─]", " ", text).split()


@pytest.mark.parametrize("name", [name for name in help_pages() if name])
def test_every_word_is_shown(name: str) -> None:
    shown = words(help_pages()[name])
    joined = " ".join(shown)
    for text in sources(name):
        for line in STYLES.sub("", text).replace("\\[", "[").splitlines():
            assert " ".join(line.split()) in joined, f"{name}: {line}"


def test_tags_are_only_styles() -> None:
    """An unescaped bracket that is no style is a word that Rich takes for a tag."""
    for name in help_pages():
        if name:
            for text in sources(name):
                left = re.findall(r"(?<!\\)\[[a-z/@#][^\]]*\]", STYLES.sub("", text))
                assert left == [], f"{name}: escape {left}"
