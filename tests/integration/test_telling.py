"""Telling never ends or blocks training: a diverged model, damaged records, consoles and folders that fail."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from configs.recipe import load_recipe, write_recipe
from configs.run_layout import EVALUATION, METRICS
from pretrain.telemetry import read_metrics
from tests.integration.small import bertrain, command, environment
from tests.pretrain.runs import some_model, write_run

pytestmark = pytest.mark.slow  # a minute together: .ci/run names this file
ON_CPU = ["cluster.device=cpu", "cluster.ranks_per_node=1", "cluster.cpu_threads=1", "train.precision=fp32"]
FEW = ["train.steps=10", "train.global_batch_size=8", "train.micro_batch_size=8", "checkpoint.every_steps=8"]
SLOW = ["optimizer.learning_rate=1e-7", "optimizer.warmup_steps=2"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run at step 7 whose masked-LM scores are so large that the perplexity exceeds the largest float."""
    model = some_model()
    with torch.no_grad():
        model.masked_lm.norm.weight.mul_(1e5)
    run = write_run(tmp_path, model)
    write_recipe(load_recipe(run / "recipe.toml", [*ON_CPU, *FEW, *SLOW]), run / "recipe.toml")
    align(run)
    return run


def align(run: Path) -> None:
    """Make the checkpoint one of the run's data set, as if training had written it."""
    from pretrain.checkpoint import read_state
    from pretrain.checkpoint.state import state_text

    folder = run / "checkpoints" / "step_00000007"
    state = read_state(folder).model_copy(update={"dataset": "synthetic", "cursor": 56})
    (folder / "state.json").write_text(state_text(state))
    lines = (run / METRICS).read_text().splitlines(keepends=True)[:7]
    (run / METRICS).write_text("".join(lines))


def test_a_diverged_run_ends_with_its_last_checkpoint(run: Path) -> None:
    trained = bertrain(run.parents[1], "train", str(run))
    assert trained.returncode == 0, trained.stdout + trained.stderr
    saved, held_out = trained.stdout.index("step_00000010 in"), trained.stdout.index("held-out at step 10")
    assert saved < held_out  # what was computed is saved before it is described
    assert "perplexity inf" in trained.stdout
    assert read_metrics(run)[-1]["valid_mlm_loss"] > 710
    assert bertrain(run.parents[1], "evaluate", str(run)).returncode == 0
    assert json.loads((run / EVALUATION).read_text())["mlm_loss"] > 710
    assert "done" in bertrain(run.parents[1], "status", str(run)).stdout


def test_an_evaluation_that_a_kill_prevented_is_made_up(run: Path) -> None:
    assert bertrain(run.parents[1], "train", str(run)).returncode == 0
    lines = (run / METRICS).read_text().splitlines(keepends=True)
    (run / METRICS).write_text("".join(lines[:-1]))  # the evaluation's line
    again = bertrain(run.parents[1], "train", str(run))
    assert again.returncode == 0
    assert "held-out at step 10" in again.stdout
    assert (run / METRICS).read_text().splitlines(keepends=True) == lines
    assert "held-out" not in bertrain(run.parents[1], "train", str(run)).stdout


def test_a_run_with_damaged_records_resumes_and_is_shown(run: Path, tmp_path: Path) -> None:
    lines = (run / METRICS).read_bytes().splitlines(keepends=True)
    (run / METRICS).write_bytes(b"".join([*lines[:2], lines[2][:9] + lines[3], b"\0" * 30 + b"\n", *lines[4:]]))
    assert bertrain(tmp_path, "train", str(run)).returncode == 0
    assert [record["step"] for record in read_metrics(run)] == [1, 2, 5, 6, 7, 8, 9, 10]
    for arguments in (["status", str(run)], ["plot", str(run)], ["export", str(run), "-o", "out"]):
        ended = bertrain(tmp_path, *arguments)
        assert ended.returncode == 0, ended.stderr
    assert "2 damaged line(s) are left out" in ended.stderr


def test_losses_that_are_all_null_cannot_be_plotted(run: Path) -> None:
    (run / METRICS).write_text('{"step": 1, "mlm_loss": null}\n')
    ended = bertrain(run.parent, "plot", str(run))
    assert ended.returncode == 2
    assert "has recorded no finite loss" in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_terminal_that_is_not_utf_8(run: Path, tmp_path: Path, encoding: str) -> None:
    write_run(tmp_path / "fine", some_model())
    fine = tmp_path / "fine" / "runs" / "small"
    shown = environment() | {"PYTHONIOENCODING": encoding}
    for arguments in (
        ["train", str(run)], ["status", str(run)], ["plot", str(run)], ["export", str(fine), "-o", "out"],
        ["fill", str(fine), "the [MASK]"], ["inspect", str(fine.parents[1] / "dataset")], ["config", "demo"],
    ):  # fmt: skip
        ended = subprocess.run(
            command(*arguments), cwd=tmp_path, env=shown, capture_output=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stderr
        ended.stdout.decode(encoding)


def test_an_export_does_not_need_its_output(tmp_path: Path) -> None:
    run = write_run(tmp_path, some_model())
    with Path("/dev/full").open("w") as full:
        argv = command("export", str(run), "-o", "out")
        ended = subprocess.run(argv, cwd=tmp_path, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 0, ended.stderr
    assert b"standard output fails" in ended.stderr
    assert (tmp_path / "out/config.json").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write to any folder")
def test_a_run_that_cannot_be_written_is_shown(run: Path) -> None:
    for folder in (run, *run.iterdir()):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    assert bertrain(run.parents[1], "status", str(run)).returncode == 0


def test_a_damaged_held_out_shard_is_refused_at_the_start(run: Path) -> None:
    (shard,) = (run.parents[1] / "dataset" / "shards").glob("*held_out.arrow")
    shard.write_bytes(shard.read_bytes()[:-9] + b"x" * 9)
    ended = bertrain(run.parents[1], "train", str(run))
    assert ended.returncode == 2
    assert "the shard is damaged" in ended.stdout + ended.stderr
    assert "step " not in ended.stdout
