from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from configs.errors import UserError
from configs.recipe import load_recipe
from configs.schema import Recipe
from launch.cli import app
from launch.display.dry_run import run_smoke, show_dry_run, smoke_recipe
from preprocessing.dataset.manifest import read_manifest
from pretrain.data.training_data import open_data
from tests.integration.small import bertrain
from tests.pretrain.synthetic import write_dataset


def dry_run(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    show_dry_run(load_recipe("demo", overrides))
    return " ".join(capsys.readouterr().out.split())


def test_a_dry_run_prints_sizes_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shape = ["model.hidden_size=768", "model.num_hidden_layers=12", "model.num_attention_heads=12"]
    shape += ["model.intermediate_size=3072", "model.max_position_embeddings=512", "data.vocabulary.size=30522"]
    job = ["cluster.nodes=4", "cluster.ranks_per_node=8", "train.global_batch_size=65536", "train.steps=1000"]
    data = ["data.max_seq_length=128", "data.max_predictions_per_seq=20"]
    out = dry_run(capsys, *shape, *job, *data, "train.micro_batch_size=64")
    assert "datasets/demo does not exist yet" in out
    assert "110,106,428 parameters, 69.8 GFLOP per full row" in out
    assert "65536 rows per step = 32 rank(s) x 32 micro-step(s) of at most 64; 1,000 steps" in out
    assert "65,536,000 rows, at most 8,388,608,000 tokens, 4.57e+18 FLOP" in out
    assert "time about" in out
    assert "Memory on 32 rank(s)" in out
    assert "2 (recipe)" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_reads_an_existing_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "dataset", [[90, 30]], vocabulary_size=99)
    fields = [f"data.dataset={tmp_path}/dataset", "train.steps=60", "train.global_batch_size=20"]
    out = dry_run(capsys, *fields, f"runs={tmp_path}/runs", "train.budget_min=0")
    assert "120 pairs" in out
    assert "1 pass(es); 10.00 epochs; vocabulary 99" in out
    assert "at most 10.00 epochs" in dry_run(capsys, *fields, f"runs={tmp_path}/runs", "train.budget_min=1")
    assert {path.name for path in tmp_path.iterdir()} == {"dataset"}
    with pytest.raises(UserError, match="objective"):
        dry_run(capsys, *fields, "data.objective=none")


def test_train_has_dry_run_and_smoke(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Recipe] = []
    monkeypatch.setattr("launch.display.show_dry_run", told.append)
    assert CliRunner().invoke(app, ["train", "demo", "--dry-run", "train.steps=77"]).exit_code == 0
    monkeypatch.setattr("launch.display.run_smoke", lambda recipe: 75)
    assert CliRunner().invoke(app, ["train", "demo", "--smoke"]).exit_code == 75
    assert [recipe.train.steps for recipe in told] == [77]


def test_smoke_recipe_reduces_only_what_takes_long(tmp_path: Path) -> None:
    long = ["optimizer.warmup_steps=100", "optimizer.decay_steps=150", "train.budget_min=0.001"]
    grown = ["train.global_batch_size=65536", "train.first_global_batch_size=9000", "train.batch_growth_steps=9"]
    recipe = load_recipe("demo", [*long, *grown, "data.objective=none"])
    tried = smoke_recipe(recipe, tmp_path / "smoke", ranks=3)
    assert (tried.train.steps, tried.train.global_batch_size, tried.optimizer.warmup_steps) == (20, 3 * 64 * 2, 5)
    assert (tried.optimizer.decay_steps, tried.train.budget_min, tried.train.batch_growth_steps) == (15, 0.0, 0)
    assert tried.model == recipe.model
    assert tried.train.zero_stage == recipe.train.zero_stage
    assert read_manifest(Path(tried.data.dataset)).objective == "none"
    Recipe.model_validate(tried.model_dump())
    assert open_data(tried).main.place == tried.data.dataset


def test_smoke_is_refused_inside_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="starts its ranks itself"):
        run_smoke(load_recipe("demo"))


def test_smoke_trains_and_leaves_nothing(tmp_path: Path) -> None:
    tiny = ["model.hidden_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2", "runs=runs"]
    tiny += ["model.intermediate_size=16", "train.micro_batch_size=8", "cluster.ranks_per_node=1", "cluster.device=cpu"]
    tried = bertrain(
        tmp_path, "train", "demo", "--smoke", *tiny, "data.objective=none", "data.vocabulary.file=gone.txt"
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "step 20/20" in tried.stdout
    assert "nsp" not in tried.stdout
    assert list((tmp_path / "runs").iterdir()) == []
