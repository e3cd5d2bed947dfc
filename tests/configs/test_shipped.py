"""The shipped recipes: each loads, passes a dry run, and matches its first line."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.loading import SHIPPED
from configs.recipe import load_recipe, shipped_recipes
from launch.display.dry_run import show_dry_run
from pretrain.cost import HARDWARE, Cost

# Output of a dry run: parameters and batch size.
EXPECTED = {
    "base_phase1": ("110,106,428", "256 rows per step = 8 rank(s) x 1 micro-step(s) of at most 256"),
    "base_phase2": ("110,106,428", "256 rows per step = 8 rank(s) x 1 micro-step(s) of at most 256"),
    "demo": ("2,213,058", "128 rows per step = 2 rank(s) x 1 micro-step(s) of at most 64"),
    "demo_continue": ("22,744,506", "64 rows per step = 2 rank(s) x 1 micro-step(s) of at most 32; 100 steps"),
    "large_phase1": ("336,226,108", "65536 rows per step = 64 rank(s) x 2 micro-step(s) of at most 512; 7,038 steps"),
    "large_phase2": ("336,226,108", "32768 rows per step = 64 rank(s) x 4 micro-step(s) of at most 128; 1,563 steps"),
    "megatron_3.9b": ("3,869,081,404", "1024 rows per step = 64 rank(s) x 1 micro-step(s) of at most 16"),
    "objectives": ("1,495,554", "32 rows per step = 1 rank(s) x 1 micro-step(s) of at most 32; 20,000 steps"),
    "one_gpu_small": ("21,806,082", "256 rows per step = 1 rank(s) x 2 micro-step(s) of at most 128; 100,000 steps"),
    "one_gpu_day": (
        "111,241,472",
        "4096 rows per step, growing from 512 over 20,000 steps = 1 rank(s) x 4 micro-step(s) of at most 1024",
    ),
}


@pytest.mark.parametrize("name", shipped_recipes())
def test_dry_run_of_each_recipe(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    show_dry_run(load_recipe(name))
    out = capsys.readouterr().out
    for expected in EXPECTED.get(name, ()):
        assert expected in out
    assert list(tmp_path.iterdir()) == []


def test_each_recipe_has_an_expectation() -> None:
    assert EXPECTED.keys() <= set(shipped_recipes())


def test_large_batches_have_the_published_settings() -> None:
    """NVIDIA's learning rate, batch, steps and warmup ratio by phase."""
    published = {"large_phase1": (6e-3, 65_536, 7_038, 0.2843), "large_phase2": (4e-3, 32_768, 1_563, 0.128)}
    for name, (learning_rate, rows, steps, warmup) in published.items():
        recipe = load_recipe(name)
        optimizer, train = recipe.optimizer, recipe.train
        assert (optimizer.name, optimizer.decay, optimizer.decay_power) == ("lamb", "polynomial", 0.5)
        assert (optimizer.learning_rate, train.global_batch_size, train.steps) == (learning_rate, rows, steps)
        assert optimizer.warmup_steps / train.steps == pytest.approx(warmup, abs=1e-3)
        assert (optimizer.weight_decay, optimizer.gradient_clipping, train.zero_stage) == (0.01, 1.0, 1)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_micro_batch_is_as_large_as_80_gb_allow(name: str) -> None:
    recipe = load_recipe(name)
    ranks = recipe.cluster.nodes * recipe.cluster.gpus_per_node
    if not ranks:
        pytest.skip("a recipe for any machine")
    cost = Cost(recipe, HARDWARE["a100"], recipe.data.vocabulary.size)
    most, rows = cost.largest_micro_batch(ranks, recipe.train.stage_on(ranks)), recipe.train.micro_batch_size
    assert rows <= most
    assert 2 * rows > most or rows >= recipe.train.global_batch_size / ranks


def test_one_gpu_day_fits_into_a_day() -> None:
    train = load_recipe("one_gpu_day").train
    assert 0 < train.budget_min < 24 * 60
    assert train.batch_growth_steps < train.steps


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_first_line_states_the_purpose(name: str) -> None:
    first = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


@pytest.mark.parametrize("phase1", [name for name in shipped_recipes() if name.endswith("phase1")])
def test_phase_2_starts_from_the_end_of_phase_1(phase1: str) -> None:
    first, second = load_recipe(phase1), load_recipe(phase1.replace("phase1", "phase2"))
    assert second.train.initialise_from == f"{first.runs}/{first.name}"
    assert second.data.vocabulary.file == f"{first.data.dataset}/vocab.txt"
    assert second.model == first.model
    assert (first.data.max_seq_length, second.data.max_seq_length) == (128, 512)
    assert len({recipe.data.dataset for recipe in (first, second)}) == 2
