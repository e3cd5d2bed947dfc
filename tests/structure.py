"""The source tree as the structural tests see it: its floors, a copy of it, and what import-linter says of one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = ("configs", "preprocessing", "pretrain", "launch")
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def copy_source(folder: Path) -> Path:
    """A copy of the floors and of pyproject.toml."""
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, folder / floor, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken_contracts(folder: Path) -> list[str]:
    """The names of the contracts that `lint-imports` finds broken in a source tree."""
    argv = [str(LINT_IMPORTS), "--no-cache"]
    env = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'launch'}"}  # launch holds the package bertrain
    ended = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert "Contracts: " in ended.stdout, ended.stdout + ended.stderr
    return re.findall(r"^(.*) BROKEN(?: \(.*\))?$", ended.stdout, re.MULTILINE)
