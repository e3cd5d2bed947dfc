"""Paths are one type: `~` and `$VARIABLE` mean the same for every key."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe, write_recipe
from configs.schema import Recipe
from configs.tasks import load_task

CORPUS = '[[data.corpora]]\npaths = ["x"]\nformat = "text"\n[[train.mixture]]\ndataset = "y"\nweight = 1.0\n'
KEYS = {
    "runs": lambda recipe: recipe.runs,
    "data.dataset": lambda recipe: recipe.data.dataset,
    "data.vocabulary.file": lambda recipe: recipe.data.vocabulary.file,
    "train.initialise_from": lambda recipe: recipe.train.initialise_from,
    "train.mixture.0.dataset": lambda recipe: recipe.train.mixture[0].dataset,
    "data.corpora.0.paths": lambda recipe: recipe.data.corpora[0].paths[0],
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.delenv("NOPE", raising=False)
    path = tmp_path / "mine.toml"
    path.write_text(CORPUS)
    return path


def setting(key: str, value: str) -> str:
    return f'{key}=["{value}"]' if key.endswith("paths") else f"{key}={value}"


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~/sets", "{home}/sets"),
        ("~", "{home}"),
        ("$SCRATCH/sets", "/scratch/me/sets"),
        ("${SCRATCH}s/x", "/scratch/mes/x"),
        ("s3://$SCRATCH", "s3:///scratch/me"),
        ("here/~/x", "here/~/x"),
        ("costs$/x", "costs$/x"),
        ("relative/x", "relative/x"),
    ],
)
def test_home_and_variables_are_replaced_where_a_recipe_is_read(
    recipe: Path, key: str, written: str, meant: str, tmp_path: Path
) -> None:
    loaded = load_recipe(recipe, [setting(key, written)])
    assert KEYS[key](loaded) == meant.format(home=tmp_path / "home")
    write_recipe(loaded, tmp_path / "again.toml")
    assert load_recipe(tmp_path / "again.toml") == loaded


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("$NOPE/x", "the environment variable NOPE is not set"),
        ("a/${NOPE}", "the environment variable NOPE is not set"),
        ('""', "the path is empty"),
        ("~no-such-user-here/x", "there is no home folder ~no-such-user-here"),
    ],
)
def test_unset_variables_and_empty_paths_are_refused(recipe: Path, key: str, written: str, words: str) -> None:
    value = (
        f"{key}=[{written or repr(written)}]" if key.endswith("paths") and written == '""' else setting(key, written)
    )
    with pytest.raises(UserError, match=words):
        load_recipe(recipe, [value])


def test_the_staging_folder_is_expanded_on_the_node(recipe: Path) -> None:
    assert load_recipe(recipe, ["train.stage_in=$NOPE/x"]).train.stage_in == "$NOPE/x"
    with pytest.raises(UserError, match="the path is empty"):
        load_recipe(recipe, ['train.stage_in=""'])


def test_the_paths_of_a_task_are_of_the_same_type(recipe: Path, tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    task.write_text('[task]\nkind = "classify"\ndata = "~/a.csv"\nvalidation = "b.csv"\ntest = "$SCRATCH/c.csv"\n')
    read = load_task(task, []).task
    home = str(tmp_path / "home/a.csv")
    assert (read.data, read.validation, read.test) == (home, str(tmp_path / "b.csv"), "/scratch/me/c.csv")


def test_every_path_says_what_it_is_relative_to() -> None:
    assert "relative path starts at" in str(Recipe.model_fields["runs"].description)
