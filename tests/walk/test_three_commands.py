"""The README's three commands, byte for byte, each time from a folder with nothing but text of one kind."""

from __future__ import annotations

import bz2
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.small import corpus
from tests.walk.printed import README, commands
from tests.walk.world import DUMP, run, wikipedia


def write_prose(folder: Path) -> None:
    (folder / "prose.txt").write_text(corpus(300))


def write_json_lines(folder: Path) -> None:
    lines = [json.dumps({"text": text}) for text in corpus(300).split("\n\n")]
    (folder / "articles.jsonl").write_text("\n".join(lines) + "\n")


def write_dump(folder: Path) -> None:
    (folder / DUMP).write_bytes(bz2.compress(wikipedia(200).encode()))


KINDS: dict[str, Callable[[Path], None]] = {"text": write_prose, "jsonl": write_json_lines, "wikipedia": write_dump}


def three_commands() -> list[str]:
    """Return the lines as printed, with their comments."""
    lines = [one.text for one in commands(README)]
    first = next(place for place, line in enumerate(lines) if line.startswith("bertrain init"))
    return lines[first : first + 3]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_three_commands_make_a_model(kind: str, tmp_path: Path) -> None:
    """Training is stopped after its first steps, as a reader would press Ctrl-C: the model suits the machine."""
    (tmp_path / "corpora/news").mkdir(parents=True)
    KINDS[kind](tmp_path / "corpora/news")
    proposes, prepares, trains = three_commands()
    for line in (proposes, prepares):
        ended = run(tmp_path, line)
        assert (ended.code, ended.stopped) == (0, False), ended.output
    recipe = tomllib.loads((tmp_path / "news.toml").read_text())
    assert [one["format"] for one in recipe["data"]["corpora"]] == [kind]
    ended = run(tmp_path, trains)
    assert (ended.code, ended.stopped) == (75, True), ended.output
    assert list(tmp_path.glob("runs/news/checkpoints/step_*"))
    shutil.rmtree(tmp_path)  # a checkpoint of a model of this machine's size
