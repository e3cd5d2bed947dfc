"""What must hold of the house as a whole: light imports, and a test script that says what is missing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUN_SH = ROOT / "tests" / "run.sh"

# Imports every module of a package with some others forbidden.
FORBID = """
import importlib, pkgutil, sys
package, *forbidden = sys.argv[1:]
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ImportError(f"{name} is forbidden here")
sys.meta_path.insert(0, Guard())
module = importlib.import_module(package)
for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{package}."):
    importlib.import_module(found.name)
"""


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("configs", ["torch", "deepspeed", "apache_beam", "numpy", "pyarrow", "preprocessing", "pretrain", "launch"]),
        ("preprocessing", ["torch", "deepspeed", "tensorboard", "safetensors", "transformers", "pretrain", "launch"]),
        ("launch.cli", ["torch", "deepspeed", "apache_beam", "numpy", "pyarrow", "plotext", "pretrain"]),
        ("launch.ranks.local", ["torch", "deepspeed", "apache_beam", "numpy", "pyarrow", "pretrain"]),
        ("launch.display.inspection", ["torch", "deepspeed", "apache_beam", "pretrain"]),
    ],
)
def test_the_base_install_is_enough_to_import(package: str, forbidden: list[str]) -> None:
    argv = [sys.executable, "-c", FORBID, package, *forbidden]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def run_sh(folder: Path, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """tests/run.sh of a copy of this checkout's files that it reads, with nothing but `path` to find programs in."""
    for name in ("tests/run.sh", "launch/environment.sh", "pyproject.toml", "configs/constraints.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    bash = shutil.which("bash")
    assert bash
    return subprocess.run(
        [bash, str(folder / "tests/run.sh")],
        env={"PATH": str(path), **env},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def tools(folder: Path, **scripts: str) -> Path:
    """A folder of programs: the usual ones by link, `scripts` as given."""
    folder.mkdir()
    for name in ("bash", "cat", "cksum", "dirname", "df", "awk", "env", "mkdir"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    for name, text in scripts.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def test_a_machine_without_python_is_told_the_package(tmp_path: Path) -> None:
    ended = run_sh(tmp_path / "a clone", tools(tmp_path / "bin"))
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: Python 3.11 or newer is missing. On Debian or Ubuntu: sudo apt-get install python3 python3-venv\n"
    )


def test_an_old_python_is_not_taken(tmp_path: Path) -> None:
    old = "#!/bin/sh\nexit 1\n"  # as every Python below 3.11 answers
    ended = run_sh(tmp_path / "a clone", tools(tmp_path / "bin", python3=old))
    assert "Python 3.11 or newer is missing" in ended.stderr


def test_a_python_without_venv_is_told_the_package(tmp_path: Path) -> None:
    half = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n'
    ended = run_sh(tmp_path / "a clone", tools(tmp_path / "bin", python3=half))
    assert ended.returncode == 2
    assert "sudo apt-get install python3-venv" in ended.stderr


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    df = "#!/bin/sh\necho Filesystem 1M-blocks Used Available\necho disk 9000 8900 100\n"
    python = "#!/bin/sh\nexit 0\n"
    ended = run_sh(tmp_path / "a clone", tools(tmp_path / "bin", df=df, python3=python))
    assert ended.returncode == 2
    assert f"{tmp_path / 'a clone'} has 100 MiB free, and the environment needs 4000" in ended.stderr


@pytest.mark.parametrize("script", ["tests/run.sh", "launch/demo/demo.sh", ".ci/run"])
def test_scripts_are_sound(script: str) -> None:
    text = (ROOT / script).read_text()
    assert subprocess.run(["bash", "-n", str(ROOT / script)], check=False).returncode == 0
    assert "set -euo pipefail" in text


def test_ci_runs_the_command_of_the_readme() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "bash tests/run.sh"


def test_every_test_folder_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = {
        path.stem
        for package in ("configs", "preprocessing", "pretrain", "launch")
        for path in (ROOT / package).rglob("*.py")
    }
    assert named.isdisjoint({"utils", "util", "helpers", "helper", "manager", "common", "misc", "example"})


# Words that plain technical English replaces, and what to write instead.
REPLACED = {
    r"mend(s|ed|ing)?": "fix",
    r"hang(s|ing)? on": "depend on",
    r"so many(?! that)": "the first N, N, or how many",
    r"so much of": "the first N, or how much",
    r"aloud": "a name that says what is done",
    r"(goes|go|going|went) on": "resume, continue",
    r"com(e|es|ing) back by (itself|themselves)": "is requeued",
    r"stands? behind": "follows",
    r"br(ings?|inging|ought) along": "adds, includes",
    r"fares?": "show the state",
    r"rehears(e|es|ed|al|als|ing)": "dry run",
    r"pass(ed|ing) over": "skip",
    r"told(?! apart)": "reported, given, passed",
    r"say it again": "run the command again",
    r"looks? whether": "check",
    r"documents that repeat": "duplicate documents",
    r"(has|have|had) not(?=[,.;:)])": "does not have",
    r"whereabouts": "place",
    r"nobody (trains|reads|hears|knows)": "no process, no user",
}
PRODUCT = ("README.md", "pyproject.toml", "configs", "preprocessing", "pretrain", "launch")
WRITTEN = {".py", ".pyi", ".md", ".toml", ".sh", ".j2", ".yml"}


def written_files() -> Iterator[Path]:
    """The files of the product that hold sentences."""
    for name in PRODUCT:
        path = ROOT / name
        yield from (file for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.suffix in WRITTEN)


@pytest.mark.parametrize("word", REPLACED)
def test_words_that_were_replaced_stay_out(word: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in written_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(rf"\b{word}\b", line, re.IGNORECASE)
    ]
    assert found == [], f"write instead: {REPLACED[word]}"


def test_doors_export_no_name_of_a_module_behind_them() -> None:
    """Importing the module would replace the exported name on the package."""
    clashes = {}
    for door in sorted(ROOT.glob("[a-z]*/**/__init__.pyi")):
        behind = {path.stem for path in door.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
        clashes[str(door.parent)] = behind & set(re.findall(r"\b(\w+) as \1\b", door.read_text()))
    assert {place: names for place, names in clashes.items() if names} == {}


def test_the_top_level_is_fixed() -> None:
    """Files that commands leave in the working folder, such as the log of a Slurm job, are easily committed."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.partition("/")[0] for line in listed.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        "README.md", "configs", "launch", "preprocessing", "pretrain", "pyproject.toml", "tests",
    }  # fmt: skip
