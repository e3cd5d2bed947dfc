"""What users install: the wheel, built from the source distribution, in environments of its own.

The working directory of each command holds folders with the names of our packages, some of them packages too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.small import environment, write_small
from tests.pypi import UNREACHABLE

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "preprocessing", "pretrain", "launch")
NOT_INSTALLED = re.compile(r"\.md$|^launch/(container|docs)/|^launch/mkdocs\.yml$")
HEAVY = ("torch", "apache_beam", "deepspeed", "pyarrow")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from an unpacked source distribution of a copy of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as backend; print(backend.build_sdist('..'))"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(folder, filter="data")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, str(archive).removesuffix(".tar.gz")], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment that sees this one's packages, but not this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture(scope="module")
def from_pypi(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an empty environment, with what its base install asks for."""
    return install_from_pypi(sys.executable, wheel, tmp_path_factory.mktemp("base"))


def install_from_pypi(python: str | Path, wheel: Path, folder: Path) -> Path:
    """Install the wheel with this Python. The test is skipped where PyPI is out of reach."""
    subprocess.run([str(python), "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-c", str(ROOT / "configs/constraints.txt")]
    ended = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, check=False)
    if ended.returncode and any(word in ended.stderr for word in UNREACHABLE):
        pytest.skip(f"PyPI cannot be reached: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    return folder


def other_python(version: str) -> Path:
    """Return a Python of this version, on PATH or of pyenv. The test is skipped where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for found in (shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python{version}")):
        # pyenv's names on PATH fail for a version that is not chosen.
        if found and subprocess.run([str(found), "-c", ""], capture_output=True, check=False).returncode == 0:
            return Path(found)
    pytest.skip(f"this machine has no Python {version}")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working directory with a small recipe and corpus, and folders and packages of the names of ours."""
    write_small(tmp_path)
    for package, file in zip(PACKAGES, ("__init__.py", "notes.txt", "__init__.py", "errors.py"), strict=True):
        (tmp_path / package).mkdir()
        (tmp_path / package / file).write_text("raise SystemExit('a stranger was imported')\n")
    return tmp_path


def run(folder: Path, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [*map(str, argv)], cwd=folder, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def test_it_holds_every_file_of_every_room(wheel: Path) -> None:
    """A room without `__init__.py`, or a kind of file that package-data does not name, would be missing."""
    files = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.*")}
    wanted = {
        name.replace("launch/bertrain/", "bertrain/")
        for name in files
        if (ROOT / name).is_file() and "__pycache__" not in name and not NOT_INSTALLED.search(name)
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted
    assert {"bertrain/py.typed", "bertrain/__init__.pyi", "configs/demo.toml", "launch/demo/demo.sh"} < found


@pytest.mark.slow
def test_preparation_and_training_work_beside_folders_of_our_names(installed: Path, work: Path) -> None:
    bertrain = installed / "bin" / "bertrain"
    run(work, bertrain, "prepare", "recipe.toml", "data.workers=2")
    trained = run(work, bertrain, "train", "recipe.toml", "train.steps=4", "optimizer.decay=constant")
    assert "step 4/4" in trained.stdout
    torchrun = (installed / "bin" / "python", "-P", "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    resumed = run(
        work, *torchrun, "--no-python", bertrain, "train", "recipe.toml", "train.steps=6", "optimizer.decay=constant"
    )
    assert "resumed from step 4" in resumed.stdout


@pytest.mark.slow
def test_python_finds_the_installed_packages_or_names_what_hides_them(installed: Path, work: Path) -> None:
    """Python prefers an installed package to a folder without `__init__.py`, and a package in the folder to both."""
    program = "import bertrain; print(len(bertrain.prepare('recipe.toml').rows()) > 100)"
    python = installed / "bin" / "python"
    assert run(work, python, "-P", "-c", program).stdout == "True\n"
    refused = subprocess.run([python, "-c", program], cwd=work, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"ImportError: {work}/configs hides the package `configs` of bertrain" in refused.stderr
    for package in PACKAGES:
        (work / package / "__init__.py").unlink(missing_ok=True)
    assert run(work, python, "-c", program).stdout == "True\n"


@pytest.mark.slow
@pytest.mark.network
def test_the_base_install_is_light_and_enough_to_prepare(from_pypi: Path, work: Path) -> None:
    bertrain, python = from_pypi / "bin" / "bertrain", from_pypi / "bin" / "python"
    absent = "import importlib.util; print(importlib.util.find_spec('torch'))"
    assert run(work, python, "-P", "-c", absent).stdout == "None\n"
    for command in ((bertrain, "--help"), ("-P", "-c", "import bertrain")):
        imported = run(work, python, "-X", "importtime", *command).stderr
        assert not re.search(rf"\| +({'|'.join(HEAVY)})\b", imported)
    run(work, bertrain, "plan", "recipe.toml", "--hardware", "cpu")
    run(work, bertrain, "prepare", "recipe.toml", "data.workers=2")
    run(work, bertrain, "inspect", "dataset")
    run(work, bertrain, "verify", "dataset")
    program = (
        "import bertrain; data = bertrain.Dataset('dataset'); print(bertrain.verify(data), data.rows()[0].labels.max())"
    )
    assert run(work, python, "-P", "-c", program).stdout.startswith("[] ")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_later_pythons_install_it_and_prepare(version: str, wheel: Path, work: Path, tmp_path: Path) -> None:
    folder = install_from_pypi(other_python(version), wheel, tmp_path / "env")
    bertrain = folder / "bin" / "bertrain"
    assert version in run(work, folder / "bin" / "python", "--version").stdout
    run(work, bertrain, "prepare", "recipe.toml", "data.workers=2")
    run(work, bertrain, "verify", "dataset")
