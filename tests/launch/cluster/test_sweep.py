"""The runs of a sweep, and their jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe
from launch.cluster.batch_script import PREPARE, TRAIN
from launch.cluster.submission import plan_sweep
from launch.cluster.sweep import swept_settings
from tests.launch.cluster.test_submission import bertrain


def test_each_combination_is_a_run_with_its_values_in_its_name() -> None:
    found = list(swept_settings(["optimizer.learning_rate=1e-4,3e-4", "optimizer.name=adamw, lamb"], "bert"))
    assert found[0] == [
        "optimizer.learning_rate=1e-4", "optimizer.name=adamw", "name=bert-learning_rate-1e-4-name-adamw",
    ]  # fmt: skip
    assert [settings[2] for settings in found[1:]] == [
        "name=bert-learning_rate-1e-4-name-lamb",
        "name=bert-learning_rate-3e-4-name-adamw",
        "name=bert-learning_rate-3e-4-name-lamb",
    ]


@pytest.mark.parametrize(
    ("sweep", "cause"),
    [
        ("optimizer.learning_rate", "is no sweep"),
        ("optimizer.learning_rate=,", "is no sweep"),
        ("seed=1,2", "is no sweep"),
        ("data.seed=1,2", "the runs of a sweep share a data set"),
        (f"train.seed={','.join(map(str, range(257)))}", "more than 256 runs"),
    ],
)
def test_other_sweeps_are_refused(sweep: str, cause: str) -> None:
    with pytest.raises(UserError, match=cause):
        list(swept_settings([sweep], "bert"))


def test_all_runs_train_at_once_after_one_preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipes = [load_recipe("demo", settings) for settings in swept_settings(["train.seed=1,2,3"], "demo")]
    links = plan_sweep(recipes, prepares=True, shares=2)
    assert [(link.stage, link.run.name, link.after) for link in links] == [
        (PREPARE, "demo-seed-1", ()),
        *((TRAIN, f"demo-seed-{seed}", (0,)) for seed in (1, 2, 3)),
    ]
    assert [link.after for link in plan_sweep(recipes)] == [(), (), ()]


def test_submit_prints_the_jobs_and_how_to_compare_the_runs(tmp_path: Path) -> None:
    done = bertrain("submit", "demo", "--sweep", "train.seed=1,2", "--dry-run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = [f"{tmp_path}/runs/demo-seed-{seed}" for seed in (1, 2)]
    assert done.stdout.splitlines()[-3:] == [
        *(f"sbatch --parsable {run}/submit.sbatch" for run in runs),
        f"to compare them: bertrain status {' '.join(runs)}",
    ]


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--to", "local"], "only Slurm chains jobs"),
        (["--then", "demo"], "a sweep has no single run to continue"),
        (["--export", "out"], "a sweep has no single run to continue"),
    ],
)
def test_what_does_not_go_with_a_sweep_is_refused(tmp_path: Path, options: list[str], cause: str) -> None:
    done = bertrain("submit", "demo", "--sweep", "train.seed=1,2", *options, "--dry-run", folder=tmp_path)
    assert done.returncode == 2
    assert cause in done.stderr
