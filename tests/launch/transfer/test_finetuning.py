"""`bertrain finetune` on an untrained run: its files, and its user errors."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from configs.errors import UserError
from configs.tasks import TaskRecipe, load_several, load_task
from configs.transfer import FinetuneConfig, Kind, TaskConfig
from launch.commands.transfer import finetune, label_counts
from launch.transfer.finetuning import run_finetune, run_finetunes
from launch.transfer.seeds import Seeds
from launch.transfer.stopping import ending_resumably
from tests.launch.test_cli import bertrain
from tests.pretrain.runs import some_model, write_run
from tests.pretrain.transfer.test_finetuning import some_records

QUICK = ["finetune.epochs=1", "finetune.max_length=32", "finetune.device=cpu"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, some_model())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "my reviews.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in some_records(120, 1).records))
    return path


def test_finetune_prints_metrics_and_writes_results(run: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = [str(run), data.name, "--kind", "classify", "-o", "out", "finetune.seeds=2", "finetune.dropout=0.2"]
    ended = bertrain("finetune", *arguments, "--learning-curve", "4,20", *QUICK, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "seed 1: best epoch " in ended.stdout
    names = ["learning_curve", "learning_curve.png", "model", "report.json", "seed_0", "seed_1", "settings.json", "tb"]
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


def test_a_diverged_finetuning_leaves_nothing_and_its_fix_works(run: Path, data: Path, tmp_path: Path) -> None:
    command = ("finetune", str(run), data.name, "--kind", "classify", "-o", "out", *QUICK)
    ended = bertrain(*command, "finetune.learning_rate=1000", "finetune.weight_decay=1", folder=tmp_path)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "not finite" in line
    assert "Lower finetune.learning_rate" in line
    assert not (tmp_path / "out").exists()
    assert bertrain(*command, folder=tmp_path).returncode == 0
    assert "NaN" not in (tmp_path / "out" / "report.json").read_text()


def test_text_that_the_vocabulary_does_not_have_is_warned_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"text": f"{'хорошо' if number % 2 else 'плохо'} {number}", "label": number % 2} for number in range(40)]
    data = tmp_path / "cyrillic.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    run_finetune(run, load_task(data, [*QUICK, "task.kind=classify"]), tmp_path / "out", [])
    shown = capsys.readouterr().out
    for part in ("training", "validation", "test"):
        assert re.search(rf"warning: {part}: \d+% of the word pieces are \[UNK\]", shown)


def test_a_model_with_weights_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    model = some_model()
    with torch.no_grad():
        model.masked_lm.norm.weight[3] = math.nan
    run = write_run(tmp_path, model)
    for command in (["fill", str(run), "the [MASK]"], ["export", str(run), "-o", "out"]):
        ended = bertrain(*command, folder=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "weights are not finite: masked_lm.norm.weight" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_task_recipe_is_read_from_another_folder(run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[finetune]\nepochs = 1\nmax_length = 32\nseeds = 3\n")
    (tmp_path / "task.toml").write_text(f'base = "base.toml"\n[task]\nkind = "classify"\ndata = "{data.name}"\n')
    work = tmp_path / "work"
    work.mkdir()
    ended = bertrain("finetune", str(run), "../task.toml", "-o", "out", "finetune.seeds=1", folder=work)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((work / "out" / "report.json").read_text())
    assert (report["settings"]["epochs"], report["settings"]["seeds"]) == (1, 1)
    assert Path(report["task"]["data"]).samefile(data)


def test_user_errors_are_one_line(run: Path, data: Path, tmp_path: Path) -> None:
    arguments = [str(run), str(data), "--kind", "classify", "-o", str(tmp_path / "out")]
    for setting, words in {
        "task.label=Label": "no column 'Label'. It has 'text', 'label'; the first line must name the columns",
        "finetune.epoch=1": "'finetune.epoch=1': unknown key `finetune.epoch`. Did you mean `finetune.epochs`?",
        "finetune.max_length=128": "finetune.max_length: rows of 128 tokens, but the model has 48 positions",
        "finetune.freeze_layers=9": "finetune.freeze_layers: 9 layers to freeze, but the encoder has 2",
    }.items():
        output = tmp_path / setting
        refused = bertrain("finetune", *arguments[:-1], str(output), *QUICK, setting)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert words in refused.stderr


def test_long_rows_and_an_existing_output_are_refused(run: Path, data: Path, tmp_path: Path) -> None:
    recipe = load_task(data, ["task.kind=classify", "finetune.max_length=128"])
    with pytest.raises(UserError, match="rows of 128 tokens, but the model has 48 positions"):
        run_finetune(run, recipe, tmp_path / "out", [])
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    short = TaskRecipe(task=recipe.task, finetune=FinetuneConfig(max_length=32))
    with pytest.raises(UserError, match="the path exists already"):
        run_finetune(run, short, tmp_path / "out", [])


def test_numbers_of_labels_are_checked() -> None:
    assert label_counts("10,100") == [10, 100]
    for text in ("10,x", "0"):
        with pytest.raises(UserError, match="not a list of numbers of labels"):
            label_counts(text)


def test_no_option_restates_a_setting() -> None:
    options = inspect.signature(finetune).parameters.keys()
    settings = TaskConfig.model_fields.keys() | FinetuneConfig.model_fields.keys()
    assert options & settings == {"kind", "metric"}


def test_help_lists_every_kind_and_its_examples_parse() -> None:
    shown = bertrain("finetune", "--help", env={"COLUMNS": "200"}).stdout
    assert "|".join(get_args(Kind)) in shown
    commands = [shlex.split(line) for line in re.findall(r"^ *bertrain finetune (.*)$", shown, re.MULTILINE)]
    assert len(commands) == 4
    for _, task, *rest in commands:
        overrides = [word for word in rest if "=" in word] + (["task.kind=classify"] if "--kind" in rest else [])
        if not task.endswith(".toml") and task != "glue_tasks":
            load_task(Path(task), overrides)


def test_the_same_command_resumes_seed_by_seed(run: Path, data: Path, tmp_path: Path) -> None:
    def finetuned(output: str, *overrides: str) -> dict[str, Any]:
        recipe = load_task(data, ["task.kind=classify", *QUICK, *overrides])
        run_finetune(run, recipe, tmp_path / output, [])
        report: dict[str, Any] = json.loads((tmp_path / output / "report.json").read_text())
        return report

    whole = finetuned("whole", "finetune.seeds=3")
    finetuned("parts", "finetune.seeds=2")
    first = (tmp_path / "parts/seed_0/result.json").stat().st_mtime_ns
    (tmp_path / "parts/seed_1/result.json").unlink()  # as after a stop while the second seed was trained
    resumed = finetuned("parts", "finetune.seeds=3")
    assert resumed["seeds"] == whole["seeds"]
    assert (tmp_path / "parts/seed_0/result.json").stat().st_mtime_ns == first
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]
    result = tmp_path / "parts/seed_1/result.json"
    result.write_text(result.read_text().replace("0.", "1.", 1))
    with pytest.raises(UserError, match="damaged: its content differs from its checksum"):
        finetuned("parts", "finetune.seeds=3")
    result.unlink()  # as the message says
    assert finetuned("parts", "finetune.seeds=3")["seeds"] == whole["seeds"]
    settings = tmp_path / "parts/settings.json"
    settings.write_bytes(settings.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"settings\.json: damaged: Unterminated string"):
        finetuned("parts", "finetune.seeds=3")
    settings.write_bytes((tmp_path / "whole/settings.json").read_bytes())
    with pytest.raises(UserError, match=r"results of another finetune\.learning_rate"):
        finetuned("parts", "finetune.learning_rate=1e-3")
    with data.open("a") as stream:
        stream.write('{"text": "good", "label": "good"}\n')
    with pytest.raises(UserError, match="results of another records"):
        finetuned("parts")


def test_a_stop_keeps_the_finished_seeds_and_says_whether_the_command_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, seeds = tmp_path / "out", Seeds(tmp_path / "out")

    def work(number: signal.Signals, trial: str) -> None:
        with ending_resumably(out):
            if trial:
                seeds.save(trial, {})
            signal.raise_signal(number)

    def stopped(number: signal.Signals, trial: str = "") -> Any:
        with pytest.raises(SystemExit) as ended:
            work(number, trial)
        return ended.value.code

    assert stopped(signal.SIGTERM) == 143
    assert "stopped by SIGTERM\nno trial was finished yet; run the same" in capsys.readouterr().err
    assert stopped(signal.SIGINT, "seed_0") == 75
    assert stopped(signal.SIGINT) == 130
    assert stopped(signal.SIGTERM, "seed_1") == 75
    assert "2 finished trials are kept (1 of this start); run the same" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_stop_before_the_first_result_does_not_hold_to_its_settings(run: Path, data: Path, tmp_path: Path) -> None:
    def started(*overrides: str) -> None:
        run_finetune(run, load_task(data, ["task.kind=classify", *QUICK, *overrides]), tmp_path / "out", [])

    started("finetune.learning_rate=1e-3")
    (tmp_path / "out/seed_0/result.json").unlink()  # as after a stop in the first seed
    started()
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["settings"]["learning_rate"] == FinetuneConfig().learning_rate
    assert len(list((tmp_path / "out/tb/seed_0").iterdir())) == 1
    with pytest.raises(UserError, match=r"results of another finetune\.learning_rate"):
        started("finetune.learning_rate=1e-3")


def test_refused_settings_leave_no_folder(run: Path, data: Path, tmp_path: Path) -> None:
    for override, words in (
        ("task.metric=f2", r"no metric 'f2'\. Choose one of accuracy, f1, macro_f1, mcc"),
        ("task.positive=ugly", "'ugly' is not one of two classes"),
        ("finetune.freeze_layers=9", "9 layers to freeze"),
    ):
        with pytest.raises(UserError, match=words):
            run_finetune(run, load_task(data, ["task.kind=classify", *QUICK, override]), tmp_path / "out", [])
    with pytest.raises(UserError, match="1,000 labels, but there are 96 training records"):
        run_finetune(run, load_task(data, ["task.kind=classify", *QUICK]), tmp_path / "out", [10, 1000])
    assert not (tmp_path / "out").exists()


def test_labels_overlaps_and_sizes_are_reported(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "test.jsonl"
    rows = [*data.read_text().splitlines()[:3], '{"text": "the of", "label": "ugly"}']
    test.write_text("\n".join(rows) + "\n")
    with data.open("a") as stream:
        stream.write('{"text": "the of"}\n')
    overrides = ["task.kind=classify", f"task.test={test}", "task.bad_records=drop", "task.metric=macro_f1", *QUICK]
    run_finetune(run, load_task(data, overrides), tmp_path / "out", [])
    said = capsys.readouterr().out
    assert re.search(r"^ *good +\d+ +\d+ +\d+ *$", said, re.MULTILINE)
    assert "warning: not in training, though in validation or test: ugly" in said
    assert "warning: only 4 test records" in said
    assert re.search(r"warning: \d test texts also in (training|validation)", said)
    report = json.loads((tmp_path / "out/report.json").read_text())
    files, sizes = report["data"].pop("files"), report["data"]
    assert files[str(data)] == {"records": 121, "dropped": {"no label in column 'label'": 1}}
    assert sizes["training"]["records"] + sizes["validation"]["records"] + 1 == files[str(data)]["records"]
    assert report["metric"] == "macro_f1"
    config = json.loads((tmp_path / "out/model/config.json").read_text())
    assert list(config["label2id"]) == ["bad", "good", "ugly"]
    card = (tmp_path / "out/model/README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "| ugly | 0 |" in card


def test_several_tasks_are_reported_in_one_table(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mismatched.jsonl").write_bytes(b"".join(data.read_bytes().splitlines(keepends=True)[:40]))
    second = f'second_test = "mismatched.jsonl"\nsecond_published = 0.7\ntest = "{data.name}"\n'
    tasks = "".join(
        f'[[tasks]]\nname = "{name}"\nkind = "classify"\ndata = "{data.name}"\n'
        f'metric = "{metric}"\n{more}published = 0.5\n'
        for name, metric, more in (("one", "mcc", ""), ("two", "f1", second))
    )
    (tmp_path / "tasks.toml").write_text(f'[finetune]\nepochs = 1\nmax_length = 32\ndevice = "cpu"\n{tasks}')
    several = load_several(tmp_path / "tasks.toml")
    assert several is not None
    run_finetunes(run, several, tmp_path / "out")
    printed = capsys.readouterr().out.splitlines()
    table = printed[next(number for number, line in enumerate(printed) if line.split()[:2] == ["task", "metric"]) :]
    names = [line.split("  ")[0].strip() for line in table[1:5]]
    assert names == ["one", "two", "two, mismatched", "mean"]
    one, two, mismatched, mean = (float(line.split()[-2 if "mean" in line else -4]) for line in table[1:5])
    assert mean == pytest.approx((one + (two + mismatched) / 2) / 2, abs=1e-4)  # a task counts once
    assert table[4].split()[-1] == "0.5500"
    answered = (tmp_path / "out/two/seed_0/second_test/predictions.jsonl").read_text().splitlines()
    assert len(answered) == 40
    metrics = json.loads((tmp_path / "out/two/report.json").read_text())["test"]
    assert metrics["second_f1"]["mean"] == pytest.approx(mismatched, abs=1e-4)
    assert load_several(data) is None
    assert [task.name for task in load_several(Path("glue_tasks")) or ()][:2] == ["CoLA", "SST-2"]
