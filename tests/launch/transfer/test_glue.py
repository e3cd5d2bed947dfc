"""`bertrain finetune MODEL glue_tasks`, in a folder with GLUE's nine folders as they are published."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from configs.tasks import load_several
from launch.transfer.finetuning import run_finetunes
from tests.pretrain.runs import some_model, write_run
from tests.pretrain.transfer.labelled.test_glue import METRICS, publish


def test_the_shipped_recipe_prints_one_table_with_the_mean_and_published_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, some_model())
    publish(tmp_path)
    monkeypatch.chdir(tmp_path)
    tasks = load_several(Path("glue_tasks"), ["finetune.epochs=1", "finetune.max_length=32", "finetune.device=cpu"])
    assert tasks is not None
    run_finetunes(run, tasks, tmp_path / "glue")
    printed = capsys.readouterr().out.splitlines()
    table = printed[next(number for number, line in enumerate(printed) if line.split()[:2] == ["task", "metric"]) :]
    assert all(len(line) <= 80 for line in table)
    rows = [line.strip().rsplit(maxsplit=5) for line in table[1:-1]]  # name, metric, mean, ±, deviation, published
    assert {name: metric for name, metric, *_ in rows} == METRICS | {"MNLI, dev_mismatched": "accuracy"}
    of_task: dict[str, list[tuple[float, float]]] = {}
    for name, metric, mean, _, _, published in rows:
        of_task.setdefault(name.partition(",")[0], []).append((float(mean), float(published)))
        if "," not in name:
            report = json.loads((tmp_path / "glue" / name / "report.json").read_text())
            assert report["metric"] == metric
            assert report["test"][metric]["mean"] == pytest.approx(float(mean), abs=1e-4)
    *_, mean, published = table[-1].split()
    assert float(mean) == pytest.approx(fmean(fmean(m for m, _ in pairs) for pairs in of_task.values()), abs=1e-3)
    assert float(published) == pytest.approx(fmean(fmean(p for _, p in pairs) for pairs in of_task.values()), abs=1e-3)
