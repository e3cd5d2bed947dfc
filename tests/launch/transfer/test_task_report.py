"""`bertrain evaluate --tasks`: on a Hugging Face folder or an untrained run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from configs.run_layout import EVALUATION
from configs.tasks import load_tasks
from launch.transfer import evaluation
from launch.transfer.evaluation import run_evaluation
from launch.transfer.huggingface import export_run
from launch.transfer.task_report import run_task_report
from pretrain.transfer import probing
from pretrain.transfer.features import Mix
from tests.pretrain.runs import some_model, write_run
from tests.pretrain.transfer.test_finetuning import some_records

TASKS = """
[finetune]
epochs = 1
seeds = 2
max_length = 32
device = "cpu"
[[tasks]]
name = "reviews"
kind = "classify"
data = "reviews.jsonl"
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(probing, "STEPS", 5)
    (tmp_path / "reviews.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in some_records(120, 1).records)
    )
    (tmp_path / "tasks.toml").write_text(TASKS)
    return write_run(tmp_path, some_model())


def test_a_run_is_reported_with_table_picture_and_mix(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / EVALUATION).write_text('{"mlm_loss": 2.0, "mlm_accuracy": 0.5, "nsp_accuracy": 0.9}')
    run_task_report(run, load_tasks(tmp_path / "tasks.toml"), tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["held_out"]["mlm_perplexity"] == pytest.approx(np.exp(2.0))
    (task,) = report["tasks"]
    means = [task[start]["test"]["accuracy"]["mean"] for start in ("pretrained", "random")]
    assert task["difference"]["mean"] == pytest.approx(means[0] - means[1])
    assert len(task["random"]["probes"]) == 3
    assert task["data"]["training"]["records"] > 60
    assert (tmp_path / "out/tasks.png").read_bytes().startswith(b"\x89PNG")
    assert Mix.read(tmp_path / "out/reviews/mix.json").layers == [0, 1, 2]
    said = capsys.readouterr().out
    assert "seed 1, random: accuracy" in said
    assert "learned mix" in said


def test_a_folder_is_evaluated_on_tasks_only_and_a_run_on_held_out_rows_first(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def fail(place: Path, overrides: list[str], output: Path | None) -> int:
        assert (overrides, output) == ([], None)
        asked.append(place)
        return 1

    monkeypatch.setattr(evaluation, "evaluate_held_out", fail)
    assert run_evaluation(run, tmp_path / "tasks.toml", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()  # the ranks have failed
    export_run(run, tmp_path / "exported")
    seed = ["finetune.seeds=1"]
    assert run_evaluation(tmp_path / "exported", tmp_path / "tasks.toml", tmp_path / "out", seed) == 0
    assert asked == [run]
    (task,) = json.loads((tmp_path / "out/report.json").read_text())["tasks"]
    assert len(task["pretrained"]["seeds"]) == 1
    with pytest.raises(UserError, match=r"needs a folder.*--output DIR"):
        run_evaluation(run, tmp_path / "tasks.toml", None)
    with pytest.raises(UserError, match=r"this is a setting of tasks.*--tasks"):
        run_evaluation(run, None, None, seed)
