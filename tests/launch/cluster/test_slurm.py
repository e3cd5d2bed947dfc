"""Slurm's command lines, and the error if they are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from launch.cluster import slurm


def test_submission_is_one_argv() -> None:
    script = Path("/runs/a; b/submit.sbatch")
    assert slurm.submit_argv(script) == ["sbatch", "--parsable", "/runs/a; b/submit.sbatch"]
    assert slurm.submit_argv(script, after=["3", "5"]) == [
        "sbatch", "--parsable", "--dependency=afterok:3:5", "--kill-on-invalid-dep=yes", "/runs/a; b/submit.sbatch",
    ]  # fmt: skip


def test_machine_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not installed: this machine has no Slurm"):
        slurm.submit_script(tmp_path / "submit.sbatch")
