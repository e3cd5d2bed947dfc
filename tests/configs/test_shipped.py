"""The recipes that come with the package: each loads, is dry-run, and is what its first line says."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.recipe import SHIPPED, load_recipe, shipped_recipes
from launch.rehearsal import show_dry_run

# What a dry run says: parameters, the batch's arithmetic.
EXPECTED = {
    "base_phase1": ("110,106,428", "256 rows a step = 8 rank(s) x 1 micro-step(s) of at most 32"),
    "base_phase2": ("110,106,428", "256 rows a step = 8 rank(s) x 1 micro-step(s) of at most 32"),
    "demo": ("2,213,058", "128 rows a step = 2 rank(s) x 1 micro-step(s) of at most 64"),
    "megatron_3.9b": ("3,869,081,404", "1024 rows a step = 64 rank(s) x 2 micro-step(s) of at most 8"),
    "one_gpu_day": ("111,241,472", "4096 rows a step = 1 rank(s) x 8 micro-step(s) of at most 512"),
}


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_dry_run_of_each(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    show_dry_run(load_recipe(name))
    out = capsys.readouterr().out
    for expected in EXPECTED.get(name, ()):
        assert expected in out
    assert list(tmp_path.iterdir()) == []


def test_each_has_its_expectation() -> None:
    assert EXPECTED.keys() <= set(shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_first_line_says_what_it_is_for(name: str) -> None:
    first = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


@pytest.mark.parametrize("phase1", [name for name in shipped_recipes() if name.endswith("phase1")])
def test_phase_2_goes_on_where_phase_1_ends(phase1: str) -> None:
    first, second = load_recipe(phase1), load_recipe(phase1.replace("phase1", "phase2"))
    assert second.train.initialise_from == f"{first.runs}/{first.name}"
    assert second.data.vocabulary.file == f"{first.data.dataset}/vocab.txt"
    assert second.model == first.model
    assert (first.data.max_seq_length, second.data.max_seq_length) == (128, 512)
    assert len({recipe.data.dataset for recipe in (first, second)}) == 2
