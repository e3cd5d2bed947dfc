"""`bertrain finetune` from a run without training: what it writes, and what it refuses."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path

import pytest

from configs.errors import UserError
from configs.transfer import FinetuneConfig, TaskConfig, checked
from launch.commands.transfer import finetune, label_counts
from launch.transfer.finetuning import run_finetune
from tests.launch.test_cli import bertrain
from tests.pretrain.runs import some_model, write_run
from tests.pretrain.transfer.test_finetuning import some_records

QUICK = ["--epochs", "1", "--max-length", "32", "--device", "cpu"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, some_model())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "my reviews.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in some_records(120, 1).records))
    return path


def test_the_command_reports_and_writes(run: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["--data", str(data), "--from", str(run), "-o", str(output), "--seeds", "2", "--dropout", "0.2"]
    ended = bertrain("finetune", "classify", *arguments, "--learning-curve", "4,20", *QUICK, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "seed 1: best of 1 epochs" in ended.stdout
    names = ["learning_curve.png", "model", "report.json", "seed_0", "seed_1", "tb"]
    assert sorted(os.listdir(output)) == names
    report = json.loads((output / "report.json").read_text())
    values = [seed["test"]["accuracy"] for seed in report["seeds"]]
    assert report["test"]["accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    assert list(report["learning_curve"]) == ["4", "20"]
    predictions = [json.loads(line) for line in (output / "seed_1" / "predictions.jsonl").read_text().splitlines()]
    errors = [json.loads(line) for line in (output / "seed_1" / "errors.jsonl").read_text().splitlines()]
    assert len(predictions) == report["data"]["test"]["records"]
    assert errors == [record for record in predictions if record["prediction"] != record["label"]]
    assert len(errors) == round((1 - values[1]) * len(predictions))
    assert any((output / "tb" / "seed_0").iterdir())
    assert json.loads((output / "model" / "config.json").read_text())["hidden_dropout_prob"] == 0.2


def test_what_the_user_can_mend_is_one_line(run: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(data), "--from", str(run), "-o", str(tmp_path / "out")]
    refused = bertrain("finetune", "classify", *arguments, "--label", "Label", *QUICK)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no column 'Label'. it has 'text', 'label'" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_rows_longer_than_the_model_and_an_output_that_is_there_are_refused(
    run: Path, data: Path, tmp_path: Path
) -> None:
    task = TaskConfig(kind="classify", data=str(data))
    with pytest.raises(UserError, match="rows of 128 tokens, but the model has 48 positions"):
        run_finetune(run, task, FinetuneConfig(), tmp_path / "out", [])
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="there is something of this name"):
        run_finetune(run, task, FinetuneConfig(max_length=32), tmp_path / "out", [])


def test_settings_are_checked_in_their_own_words() -> None:
    with pytest.raises(UserError, match=r"learning_rate: .* greater than 0"):
        checked(FinetuneConfig, learning_rate=0.0)
    with pytest.raises(UserError, match="regression is for tasks of kind pair"):
        checked(TaskConfig, kind="tag", data="a", regression=True)
    assert label_counts("10,100") == [10, 100]
    for text in ("10,x", "0"):
        with pytest.raises(UserError, match="no numbers of labels"):
            label_counts(text)


def test_the_commands_defaults_are_those_of_the_settings() -> None:
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(finetune).parameters.items()
        if parameter.default is not parameter.empty
    }
    for section in (FinetuneConfig, TaskConfig):
        for name, field in section.model_fields.items():
            if name in defaults:
                assert defaults[name] == field.default, name
