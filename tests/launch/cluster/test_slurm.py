"""Slurm's command lines, and the error if they are missing."""

from __future__ import annotations

import os
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
    assert slurm.submit_argv(script, after=["3"], runs=[Path("/runs/one b")])[-3:] == [
        "/runs/a; b/submit.sbatch", "--after", "/runs/one b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "run"),
    [
        ("/runs/a; b/submit.sbatch", "/runs/a; b"),
        ("/runs/a/submit.sbatch --after /runs/b/submit.sbatch", "/runs/a"),
        ("/runs/a/export.sbatch --after /runs/a", "/runs/a"),
        ("/runs/submit.sbatch.d/prepare.sbatch", "/runs/submit.sbatch.d"),
        ("/home/you/submit.sh RUN", None),
    ],
)
def test_the_arguments_of_a_script_do_not_hide_its_run(
    command: str, run: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '7|RUNNING|None|n1|3:10|{command}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (job,) = slurm.queued_jobs()
    for folder in ("/runs/a; b", "/runs/a", "/runs/b", "/runs/submit.sbatch.d"):
        assert slurm.jobs_of(Path(folder), [job]) == [job] * (folder == run)


def test_machine_without_slurm_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not installed: this machine has no Slurm"):
        slurm.submit_script(tmp_path / "submit.sbatch")
