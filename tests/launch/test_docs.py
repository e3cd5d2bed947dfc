"""The documentation builds without a warning, its reference is complete, and pre-commit runs the script's linters."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from configs.exit_codes import DONE, FAILED, STOPPED, USER_ERROR
from configs.keys import section_of
from configs.schema import Recipe, Section
from configs.tasks import TaskRecipe
from launch.cli import app
from preprocessing.dataset import Manifest
from pretrain.checkpoint import TrainingState
from pretrain.telemetry import TAGS, StepMetrics

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "launch" / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SOURCE = re.compile(r"`((?:configs|preprocessing|pretrain|launch|tests)/[\w./]+)`")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "launch/mkdocs.yml"), "-d"]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run([*argv, str(folder)], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def text_of(site: Path, page: str) -> str:
    """The text of a built page, without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", (site / page / "index.html").read_text(encoding="utf-8")))


def test_every_page_is_in_the_navigation(site: Path) -> None:
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES} - {"index"}
    assert pages <= {file.parent.relative_to(site).as_posix() for file in site.rglob("index.html")}
    navigation = (ROOT / "launch/mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in pages if f": {page}.md" not in navigation] == []


def keys(section: type[Section]) -> Iterator[tuple[str, str]]:
    """Every key of a section and of those in it, with the first words of its description."""
    for name, field in section.model_fields.items():
        nested = section_of(field)
        if nested is None:
            yield name, re.sub(r"[`\s]+", " ", field.description or "")[:30]
        else:
            yield from keys(nested)


@pytest.mark.parametrize(("page", "root"), [("reference/recipe", Recipe), ("reference/tasks", TaskRecipe)])
def test_every_key_is_in_the_reference(site: Path, page: str, root: type[Section]) -> None:
    text = re.sub(r"[`\s]+", " ", text_of(site, page))
    assert "\\" not in text  # an escape that Markdown does not know
    assert [name for name, words in keys(root) if name not in text or words.strip() not in text] == []


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    text = text_of(site, "reference/commands")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]  # it is a group
        assert f"bertrain {name}" in text
        assert [option for each in command.params for option in each.opts if option not in text and "-" in option] == []


def test_metrics_and_formats_are_in_the_reference(site: Path) -> None:
    metrics, formats = text_of(site, "reference/metrics"), text_of(site, "reference/formats")
    names = [*(each.name for each in fields(StepMetrics)), *TAGS.values()]
    assert [name for name in names if name not in metrics] == []
    assert [name for name in [*Manifest.model_fields, *TrainingState.model_fields] if name not in formats] == []
    assert "leading tokens of segment A" in formats


def test_error_messages_are_in_the_reference_with_their_fix(site: Path) -> None:
    text = text_of(site, "reference/errors")
    for words in ("already exists", "choose another name, or remove it", "not an override", "write section.key=value"):
        assert words in text
    assert len(re.findall(r"\n(?:configs|preprocessing|pretrain|launch)/[\w/]+\.py\n", text)) > 150


def test_exit_codes_are_in_the_reference(site: Path) -> None:
    text = text_of(site, "reference/exit_codes")
    assert all(str(code) in text for code in (DONE, FAILED, USER_ERROR, STOPPED))


def test_pages_ask_no_other_server(site: Path) -> None:
    """A reader without a network sees the whole site."""
    asked = re.compile(r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+stylesheet[^>]+https?:")
    assert [file.name for file in site.rglob("*.html") if asked.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_name_files_that_exist(page: Path) -> None:
    named = set(SOURCE.findall(page.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).exists()] == []


def test_pre_commit_runs_the_linters_of_the_test_script() -> None:
    entries = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    script = (ROOT / "tests" / "run.sh").read_text()
    checks = [re.sub(r"^\.venv/bin/(python -m )?| --force-exclude", "", entry) for entry in entries]
    assert checks == ["ruff check", "ruff format", "mypy", "lint-imports"]
    assert all(check in script for check in checks)
