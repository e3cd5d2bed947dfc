"""The base install: what an extra brings is named in one line, and the command in it installs that extra."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from configs.machine import EXTRAS, install_command
from tests.integration.small import environment, write_small

ROOT = Path(__file__).parents[1]
V0_1 = ROOT / "tests/fixtures/v0_1"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Commands that need an extra, with the extra that their error names.
REFUSED = {
    "train recipe.toml": "train",
    "train recipe.toml --smoke": "train",
    "train recipe.toml --dry-run": "train",
    "submit recipe.toml --to local": "train",
    "submit recipe.toml --to mpi": "mpi",
    "evaluate run": "train",
    "plot run": "train",
    "tensorboard run": "train",
    "export run -o exported": "train",
    "import exported recipe.toml name=imported": "train",
    "fill run [MASK]": "train",
    "senses run": "train",
    "finetune run reviews.csv --kind classify -o reviews": "train",
    "predict reviews reviews.csv": "train",
    "embed run corpus.txt -o vectors.npz": "train",
    "prepare recipe.toml data.duplicates=near": "near",
    "prepare recipe.toml data.chinese_words=jieba data.whole_word_masking=true data.language=zh": "chinese",
    "prepare recipe.toml data.dataset=pages data.corpora.0.format=warc": "web",
    "prepare recipe.toml data.dataset=s3://bucket/dataset": "s3",
    "prepare recipe.toml data.dataset=gs://bucket/dataset": "gcs",
    "verify s3://bucket/dataset": "s3",
}


def base_name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def test_the_table_is_that_of_the_project() -> None:
    stated = {
        extra: [base_name(one) for one in requirements if not one.startswith("bertrain[")]
        for extra, requirements in PROJECT["optional-dependencies"].items()
    }
    assert {extra: sorted(modules.values()) for extra, modules in EXTRAS.items()} == {
        extra: sorted(names) for extra, names in stated.items() if extra in EXTRAS
    }
    assert stated.keys() - EXTRAS.keys() == {"demo", "dev", "docs", "slurm-dask"}  # no command imports what they bring
    known = {name for modules in EXTRAS.values() for name in modules.values()}
    assert set(stated["demo"]) <= known


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has every package of this one except those of the extras."""
    packages = tmp_path_factory.mktemp("base")
    absent = {name for modules in EXTRAS.values() for pair in modules.items() for name in pair}
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        name = re.split(r"[-.]", path.name, maxsplit=1)[0].lower().replace("_", "-")
        if not {name, name.replace("-", "_")} & absent and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    return environment() | {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, base: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_small(folder)
    (folder / "reviews.csv").write_text("text,label\na good film,good\na bad film,bad\n")
    for name in ("run", "exported"):
        (folder / name).symlink_to(V0_1 / name)
    prepared = bertrain("prepare recipe.toml data.workers=1", folder, base)
    assert prepared.returncode == 0, prepared.stderr
    return folder


def bertrain(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-S", "-P", "-m", "launch.cli", *shlex.split(command)]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize(("command", "extra"), REFUSED.items(), ids=list(REFUSED))
def test_a_command_names_the_extra_that_it_needs(command: str, extra: str, folder: Path, base: dict[str, str]) -> None:
    refused = bertrain(command, folder, base)
    assert refused.returncode == 2, refused.stderr
    (line,) = [line for line in refused.stderr.splitlines() if not line.startswith("WARNING: ")]
    assert line.startswith("error: ")
    assert install_command(extra).replace(str(sys.executable), "") in line


@pytest.mark.parametrize(
    "command",
    ["config demo", "plan demo", "verify dataset", "inspect dataset --rows 1", "status run", "logs run",
     "plot run --picture run.png", "submit recipe.toml --dry-run"],
)  # fmt: skip
def test_other_commands_work_without_extras(command: str, folder: Path, base: dict[str, str]) -> None:
    ended = bertrain(command, folder, base)
    assert ended.returncode == 0, ended.stderr


def test_doctor_names_the_extra(folder: Path, base: dict[str, str]) -> None:
    shown = bertrain("doctor", folder, base)
    assert shown.returncode == 0, shown.stderr  # such a machine can prepare data
    command = install_command("train").rpartition(" -c ")[2]
    assert "".join(command.split()) in "".join(shown.stdout.split())  # a narrow column folds it
