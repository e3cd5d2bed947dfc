"""Folders in the working directory that hide bertrain's packages, as with `python -c` and in notebooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bertrain.own_packages import OWN_PACKAGES, check_own_packages


def test_our_packages_are_found() -> None:
    check_own_packages()


@pytest.mark.parametrize("name", OWN_PACKAGES)
@pytest.mark.parametrize("file", ["{}/__init__.py", "{}/errors.py", "{}.py"])
def test_a_folder_that_hides_a_package_is_named_with_a_fix(name: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / file.format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    shadow = tmp_path / name if "/" in file else path
    program = "try:\n    import bertrain\nexcept ImportError as error:\n    print(error)\n"
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.startswith(f"{shadow} hides the package `{name}` of bertrain in ")
    assert "Rename it, or start Python or the notebook in another folder." in told.stdout
    safe = subprocess.run([sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, check=True)
    assert safe.stdout == b""


def test_a_package_imported_before_is_also_named(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import configs; sys.path.pop(0); import bertrain"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"ImportError: {tmp_path}/configs hides the package `configs`" in ended.stderr
