"""`bertrain evaluate`: runs, checkpoints and Hugging Face folders give the same figures for the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.run_layout import CHECKPOINTS, EVALUATION
from launch.transfer.evaluation import evaluate_held_out
from launch.transfer.huggingface import export_run
from tests.integration.small import bertrain, write_small


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and a run that has two checkpoints."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_small(folder, 120)
    settings = ("train.steps=4", "checkpoint.every_steps=2", "cluster.ranks_per_node=1", "train.zero_stage=0")
    for command in ("prepare", "train"):
        ended = bertrain(folder, command, "recipe.toml", *settings)
        assert ended.returncode == 0, ended.stderr
    return folder


def record(folder: Path) -> dict[str, float]:
    content: dict[str, float] = json.loads((folder / EVALUATION).read_text())
    return content


def test_a_run_a_checkpoint_and_an_exported_model_have_the_same_loss(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    run = Path("runs/small")
    older = run / CHECKPOINTS / "step_00000002"
    export_run(run, tmp_path / "exported")
    assert evaluate_held_out(run, ["cluster.cpu_threads=2"], tmp_path / "run") == 0
    assert evaluate_held_out(older, [], tmp_path / "older") == 0
    settings = ["data.dataset=dataset", "cluster.device=cpu"]
    assert evaluate_held_out(tmp_path / "exported", settings, tmp_path / "folder") == 0
    of_run, of_older, of_folder = (record(tmp_path / name) for name in ("run", "older", "folder"))
    assert (of_older["step"], of_run["step"], of_folder["step"]) == (2, 4, 0)
    assert of_folder | {"step": 4} == pytest.approx(of_run, rel=1e-5)
    assert of_older["mlm_loss"] != of_run["mlm_loss"]
    assert not (run / EVALUATION).exists()


@pytest.mark.parametrize("setting", ['container=["apptainer", "exec", "x.sif"]', "python=/none", 'setup=["x"]'])
def test_keys_of_another_python_are_refused_as_train_does(folder: Path, tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError, match=f"cluster.{setting.partition('=')[0]}=") as refused:
        evaluate_held_out(folder / "runs/small", [f"cluster.{setting}"], tmp_path / "out")
    assert "with its own Python" in refused.value.cause
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_needs_a_data_set_and_the_fix_works(folder: Path, tmp_path: Path) -> None:
    export_run(folder / "runs/small", tmp_path / "exported")
    refused = bertrain(folder, "evaluate", str(tmp_path / "exported"))
    assert refused.returncode == 2
    assert "data.dataset=DATASET" in refused.stderr
    fixed = bertrain(folder, "evaluate", str(tmp_path / "exported"), "data.dataset=dataset", "cluster.device=cpu")
    assert fixed.returncode == 0, fixed.stderr
    assert "held-out at step 0" in fixed.stdout


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pretrained model"):
        evaluate_held_out(tmp_path)


def test_a_run_that_cannot_be_written_is_evaluated_into_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a file system that is mounted read-only: root may write to any other folder."""
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("launch.transfer.evaluation.run_ranks", lambda _: 0)
    with pytest.raises(UserError, match="folder cannot be written") as refused:
        evaluate_held_out(folder / "runs/small")
    assert "--output DIR" in refused.value.fix
    assert evaluate_held_out(folder / "runs/small", output=tmp_path / "elsewhere") == 0
