"""The documentation builds without a warning, and pre-commit runs what tests/run.sh runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "launch" / "docs").glob("*.md"))
SOURCE = re.compile(r"`((?:configs|preprocessing|pretrain|launch|tests)/[\w./]+)`")


def test_the_site_builds(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "launch/mkdocs.yml"), "-d"]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run([*argv, str(tmp_path)], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {page.stem for page in PAGES} - {"index"} <= {path.name for path in tmp_path.iterdir()}


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
