"""The watch beside the ranks of a job: which node is silent."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from configs.recipe import load_recipe, write_recipe
from configs.run_layout import ALIVE, checkpoint_name, start_folder
from launch.cluster import slurm_hooks
from launch.ranks import starts


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on two nodes of two ranks each, of which all fell silent at the same time."""
    write_recipe(load_recipe("demo"), tmp_path / "recipe.toml")
    starts.begin_start(tmp_path, "7", is_first=True, nodes=["n1", "n2"], ranks=4)
    (alive := start_folder(tmp_path, 1) / ALIVE).mkdir()
    for node in ("n1", "n2"):
        (alive / node).touch()
        os.utime(alive / node, (1_000, 1_000))
    hours = count(0.0, 3_600.0)
    monkeypatch.setattr(slurm_hooks, "time", SimpleNamespace(monotonic=lambda: next(hours), sleep=lambda _: None))
    return tmp_path


def test_a_node_whose_ranks_have_all_ended_is_not_silent(run: Path) -> None:
    """A node has no heartbeat after its ranks ended, while srun waits for another one, whose supervisor is stopped."""
    for rank in (0, 1, 2):
        starts.record_end(run, 1, starts.RankEnd(rank, f"n{1 + rank // 2}", 0))
    assert slurm_hooks.watch(run, 1) == "n2"
    assert (start_folder(run, 1) / "silent").read_text() == "n2\n"


def test_no_node_is_named_if_srun_waits_though_all_ranks_have_ended(run: Path) -> None:
    """The step daemon of a node is killed: its rank saves and ends, but srun is never told."""
    for rank in range(4):
        starts.record_end(run, 1, starts.RankEnd(rank, f"n{1 + rank // 2}", 75))
    assert slurm_hooks.watch(run, 1) == ""
    assert slurm_hooks.end(run, 1) == "75 again "


def test_of_several_silent_nodes_the_first_is_named(run: Path) -> None:
    os.utime(start_folder(run, 1) / ALIVE / "n2", (999, 999))
    assert slurm_hooks.watch(run, 1) == "n2"


@pytest.mark.parametrize("action", ["watch", "end"])
def test_a_damaged_record_of_a_start_is_named(run: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    (start_folder(run, 1) / "start.json").write_text("{")
    assert slurm_hooks.main([action, str(run), "1"]) == 2
    assert "the start's record is missing or damaged" in capsys.readouterr().err


def test_a_script_with_a_damaged_path_makes_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    assert slurm_hooks.main(["begin", str(tmp_path / "rums/demo"), "n1"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ["begin", "check"])
def test_a_job_does_not_start_after_a_run_that_is_not_finished(
    run: Path, tmp_path: Path, action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slurm takes a job whose script was cut for one that succeeded, and starts those that wait for it."""
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "1")
    before = tmp_path / "before"
    before.mkdir()
    write_recipe(load_recipe("demo", ["train.steps=100"]), before / "recipe.toml")
    arguments = [action, "--after", str(before), *([str(run), "n1"] if action == "begin" else [])]
    for step in (0, 99):
        save(before, step)
        assert slurm_hooks.main(arguments) == 2
        assert f"not finished: its newest checkpoint is step {step} of 100" in capsys.readouterr().err
    assert len(starts.read_starts(run)) == 1
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # a restart: the first start was checked
    assert slurm_hooks.main(arguments) == 0
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    save(before, 100)
    assert slurm_hooks.main(arguments) == 0


def save(run: Path, step: int) -> None:
    """Write as much of a checkpoint as is looked for."""
    if step:
        (folder := run / "checkpoints" / checkpoint_name(step)).mkdir(parents=True)
        (folder / "state.json").write_text("{}")
