"""A drill: an addition to the product, made in a copy of its source tree as the documentation describes it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.integration.small import environment
from tests.structure import broken_contracts, copy_source

MOST_FILES = 3


@dataclass(frozen=True)
class Edit:
    """A replacement in a file, which holds `old` once."""

    path: str
    old: str
    new: str


class Copy:
    """A copy of the source tree with an addition. It touches at most three files and keeps every import contract."""

    def __init__(self, folder: Path, new: dict[str, Path], edits: list[Edit]) -> None:
        self.folder = folder
        copy_source(folder)
        assert len({*new, *(edit.path for edit in edits)}) <= MOST_FILES
        for name, source in new.items():
            shutil.copy(source, folder / name)
        for edit in edits:
            path = folder / edit.path
            text = path.read_text()
            assert text.count(edit.old) == 1, f"{edit.path} does not hold {edit.old!r} once: adapt the drill"
            path.write_text(text.replace(edit.old, edit.new))
        assert broken_contracts(folder) == []

    def python(self, *arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """`python ARGUMENTS`, which imports the copy, with more environment variables."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment() | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"} | variables,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
