"""Every fenced block of the documentation is executed or loaded by a test, or marked; what is neither is output."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from pydantic import AliasChoices, Field

from configs.schema.section import Section
from configs.tasks import load_any
from tests.integration.small import environment
from tests.walk.elsewhere import MARKS
from tests.walk.printed import FENCED, PAGES, ROOT, commands
from tests.walk.test_walk import bare, helped

__all__ = ["helped"]  # a fixture

ALL_PAGES = (*PAGES, ROOT / "preprocessing/README.md", ROOT / "pretrain/README.md")
OUTPUT = ("text", "")  # output, layouts and drawings; test_walk proves that no command is in them

# Python blocks, by page: the test that executes them, as files to read.
PYTHON = {
    "launch/docs/python.md": "tests/test_readme.py",
    "launch/docs/howto/export.md": "tests/walk/test_blocks.py",
    "launch/docs/versions.md": "tests/walk/test_blocks.py",
    "preprocessing/README.md": "tests/walk/test_blocks.py",
    # Pages on an addition to the source, which a drill makes in a copy: it has the page's lines.
    "launch/docs/add_a_corpus_format.md": "tests/drills/test_add_a_corpus_format.py",
    "launch/docs/add_a_launcher.md": "tests/drills/test_add_a_launcher.py",
    "launch/docs/add_an_optimizer.md": "tests/drills/radam.py",
}


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each fenced block."""
    return FENCED.findall(page.read_text(encoding="utf-8"))


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


BLOCKS = [(name_of(page), language, text) for page in ALL_PAGES for language, text in blocks_of(page)]


def python_of(page: str) -> list[str]:
    return [text for name, language, text in BLOCKS if (name, language) == (page, "python")]


def fate(page: str, language: str, text: str) -> str:
    """Return what happens to a block: `executed`, `loaded`, `marked`, `output`, or `nothing`."""
    if language == "bash":
        lines = [bare(one) for one in commands(ROOT / page) if one.text in text]
        return "marked" if lines and all(line in MARKS for line in lines) else "executed" if lines else "nothing"
    if language == "python":
        return "executed" if page in PYTHON else "nothing"
    return "loaded" if language == "toml" else "output" if language in OUTPUT else "nothing"


def test_every_block_is_executed_loaded_or_marked() -> None:
    """The counts state how much of the documentation is proven; a new block changes one of them."""
    found = Counter(fate(*block) for block in BLOCKS)
    assert [block for block in BLOCKS if fate(*block) == "nothing"] == []
    proven = found["executed"] + found["loaded"]
    assert proven + found["marked"] + found["output"] == len(BLOCKS)
    assert proven >= 45
    assert found["marked"] <= 3


def test_no_block_is_left_open() -> None:
    for page in ALL_PAGES:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), page


@pytest.mark.parametrize(("page", "test"), PYTHON.items())
def test_python_blocks_are_those_that_their_tests_know(page: str, test: str) -> None:
    assert python_of(page)
    program = (ROOT / test).read_text(encoding="utf-8")
    if "drills" in test:
        source = program + (ROOT / "launch/cluster/launchers.py").read_text(encoding="utf-8")
        lines = [line.strip() for text in python_of(page) for line in text.splitlines()]
        assert [line for line in lines if line not in source] == []
    else:
        assert page in program or Path(page).name in program


@pytest.mark.parametrize("page", ["preprocessing/README.md", "pretrain/README.md"])
def test_recipes_of_the_packages_are_valid(page: str, tmp_path: Path) -> None:
    for number, text in enumerate(text for name, language, text in BLOCKS if (name, language) == (page, "toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        assert tomllib.loads(text)
        load_any(file)


def test_a_key_with_two_names_is_declared_as_documented() -> None:
    (line,) = python_of("launch/docs/versions.md")
    known = {"AliasChoices": AliasChoices, "Field": Field}
    declared: dict[str, object] = {}
    exec(f"class Declared(Section):\n    {line}", known | {"Section": Section}, declared)  # noqa: S102 - as printed
    section = declared["Declared"]
    assert isinstance(section, type)
    assert issubclass(section, Section)
    for name in ("new_name", "old_name"):
        assert section.model_validate({name: 3}).model_dump() == {"new_name": 3}


@pytest.mark.slow
def test_python_of_the_export_page_and_of_preprocessing_runs(helped: Path) -> None:
    exported = ["bertrain", "export", "runs/demo", "--output", "demo-bert"]
    program = Path(sys.executable).parent / exported[0]
    if not (helped / "demo-bert").exists():
        subprocess.run([program, *exported[1:]], cwd=helped, env=environment(), check=True, capture_output=True)
    for text in (*python_of("launch/docs/howto/export.md"), *python_of("preprocessing/README.md")):
        ended = subprocess.run(
            [sys.executable, "-"],
            input=text,
            cwd=helped,
            env=environment() | {"HF_HOME": str(helped / "hub"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
