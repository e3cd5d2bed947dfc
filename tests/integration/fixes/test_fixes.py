"""A command is refused; the fix that its message prints is applied as printed; the same command passes.

Each case damages a copy of a small run's folder or gives a wrong argument. `fix` finds the part of the message to
apply: a setting or an option, which is added to the command (or takes the place of the same one), or a command in
backticks, which is run first. test_listed.py says which fixes have no case.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.integration.fixes import data_cases, run_cases, transfer_cases
from tests.integration.fixes.case import Case, check
from tests.integration.small import bertrain, write_small

CASES = [*data_cases.CASES, *run_cases.CASES, *transfer_cases.CASES]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fixes")
    write_small(folder)
    recipe = (folder / "recipe.toml").read_text().replace("ranks_per_node = 2", "ranks_per_node = 1")
    (folder / "recipe.toml").write_text(recipe.replace("dupe_factor", "workers = 1\ndupe_factor"))
    passes(folder, run_cases.PREPARE)
    return folder


@pytest.fixture(scope="module")
def trained(prepared: Path) -> Path:
    for command in (run_cases.TRAIN, f"export {run_cases.RUN} -o hf"):
        passes(prepared, command)
    return prepared


def passes(folder: Path, command: str) -> None:
    ended = bertrain(folder, *shlex.split(command))
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"


@pytest.mark.slow  # as all cases together
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_command_passes_after_the_printed_fix(
    case: Case, trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, Path(shutil.copytree(trained, tmp_path / "work")), capfd)
