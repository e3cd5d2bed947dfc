"""The example notebook, run from top to bottom in an empty working directory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.small import corpus, environment

EXAMPLE = Path(__file__).parents[3] / "launch" / "docs" / "examples" / "python_api.py"


@pytest.mark.slow
def test_the_example_prepares_trains_exports_and_loads(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(corpus(200))
    ended = subprocess.run(
        [sys.executable, "-"], cwd=tmp_path, env=environment(), input=EXAMPLE.read_text(),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "failures: []" in ended.stdout
    assert re.search(r"finished with a loss of \d", ended.stdout)
    assert float(re.findall(r"transformers and ours: (\S+)", ended.stdout)[0]) < 1e-5
    assert re.search(r"loss on the first two rows: \d", ended.stdout)
    assert re.search(r"^step +10/10 ", ended.stdout, re.MULTILINE)  # what rank 0 printed


def test_every_cell_starts_with_a_cell_marker() -> None:
    assert set(re.findall(r"^# %%.*$", EXAMPLE.read_text(), re.MULTILINE)) == {"# %%", "# %% [markdown]"}
