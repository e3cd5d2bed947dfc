"""The shipped recipes: each loads, passes a dry run, and matches its first line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from configs.loading import SHIPPED
from configs.recipe import load_recipe, shipped_recipes
from launch.display.dry_run import show_dry_run
from launch.display.planning import show_plan
from pretrain.cost import HARDWARE, Cost
from pretrain.cost.estimate import RESERVED_SHARE
from pretrain.engine import rows_of_all_steps

# Output of a dry run: parameters and batch size.
EXPECTED = {
    "base_phase1": ("110,106,428", "256 rows per step = 8 rank(s) x 1 micro-step(s) of at most 256"),
    "base_phase2": ("110,106,428", "256 rows per step = 8 rank(s) x 1 micro-step(s) of at most 256"),
    "demo": ("2,213,058", "128 rows per step = 2 rank(s) x 1 micro-step(s) of at most 64"),
    "demo_continue": ("22,893,116", "32 rows per step = 2 rank(s) x 1 micro-step(s) of at most 32; 150 steps"),
    "large_phase1": ("336,226,108", "65536 rows per step = 64 rank(s) x 2 micro-step(s) of at most 512; 7,038 steps"),
    "large_phase2": ("336,226,108", "32768 rows per step = 64 rank(s) x 4 micro-step(s) of at most 128; 1,563 steps"),
    "megatron_3.9b": ("3,869,081,404", "1024 rows per step = 64 rank(s) x 1 micro-step(s) of at most 16"),
    "modernbert_base_phase1": (
        "149,655,232",
        "4608 rows per step, growing from 768 over 18,200 steps = 8 rank(s) x 6 micro-step(s) of at most 96",
    ),
    "modernbert_base_phase2": (
        "149,655,232",
        "576 rows per step = 8 rank(s) x at least 1 micro-step(s) of at most 1024 rows and 98,304 tokens; 53,000 steps",
    ),
    "modernbert_base_decay": (
        "149,655,232",
        "576 rows per step = 8 rank(s) x at least 1 micro-step(s) of at most 1024 rows and 98,304 tokens; 10,600 steps",
    ),
    "modernbert_one_gpu_day": (
        "136,120,832",
        "1024 rows per step, growing from 128 over 13,000 steps = 1 rank(s) x 4 micro-step(s) of at most 256",
    ),
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
    most, rows = cost.largest_micro_batch(ranks, recipe.train.stage_on(ranks)), cost.micro_batch_size
    assert rows <= most
    assert 2 * rows > most or rows >= cost.recipe.train.global_batch_size / ranks


@pytest.mark.parametrize("name", ["one_gpu_day", "modernbert_one_gpu_day"])
def test_one_gpu_day_fits_into_a_day(name: str) -> None:
    train = load_recipe(name).train
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
    if first.model.is_modern:  # the rotary base grows with the rows
        assert second.model == first.model.model_copy(update={"global_rotary_base": 160_000.0})
    else:
        assert second.model == first.model
    lengths = (first.data.max_seq_length, second.data.max_seq_length)
    assert lengths == ((1024, 8192) if first.model.is_modern else (128, 512))
    assert len({recipe.data.dataset for recipe in (first, second)}) == 2


def test_the_phases_of_modernbert_have_the_published_settings() -> None:
    """Warner et al. 2024, table 3: tokens, batch and learning rate of each phase, on the model of table 4."""
    phases = [load_recipe(f"modernbert_base_{name}") for name in ("phase1", "phase2", "decay")]
    shapes = {(one.model.num_hidden_layers, one.model.hidden_size, one.model.intermediate_size) for one in phases}
    assert shapes == {(22, 768, 1152)}
    assert [one.optimizer.learning_rate for one in phases] == [8e-4, 3e-4, 3e-4]
    assert [one.optimizer.decay for one in phases] == ["constant", "constant", "root"]
    assert [one.data.masked_lm_prob for one in phases] == [0.3, 0.3, 0.15]
    assert [one.model.global_rotary_base for one in phases] == [1e4, 1.6e5, 1.6e5]
    assert phases[2].train.initialise_from == f"{phases[1].runs}/{phases[1].name}"
    batches = [one.with_batch_of(one.data.max_seq_length) for one in phases]
    assert [one.train.global_batch_size for one in batches] == [4608, 576, 576]
    tokens = [rows_of_all_steps(one.train) * one.data.max_seq_length for one in batches]
    assert tokens == pytest.approx([1.719e12, 250e9, 50e9], rel=2e-3)
    first = phases[0].train.model_copy(update={"steps": phases[0].optimizer.warmup_steps})
    assert rows_of_all_steps(first) * 1024 == pytest.approx(3e9, rel=1e-2)


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("modernbert")])
def test_modernbert_is_planned_on_eight_gpus(name: str) -> None:
    recipe = load_recipe(name)
    with io.StringIO() as screen:
        show_plan(Console(file=screen, width=200), recipe, HARDWARE["h100"], 8, 24.0, None)
        printed = screen.getvalue()
    assert "Memory on 8 rank(s)" in printed
    cost = Cost(recipe, HARDWARE["h100"], recipe.data.vocabulary.size)
    assert cost.step(8).memory.total_gib < 80 * (1 - RESERVED_SHARE)
    hours = {"modernbert_base_phase1": 194.2, "modernbert_base_phase2": 39.9, "modernbert_base_decay": 11.5}
    if name in hours:  # published, on 8 H100; a plan assumes that matrix products reach 55 % of the peak
        assert 0.4 < cost.training_s(8) / 3600 / hours[name] < 1.0
