"""Recipes: what to prepare and how to train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import configs.recipe
from configs.errors import UserError as UserError
from configs.schema import Recipe as Recipe


def load_recipe(source: str | Path, overrides: Mapping[str, object] | Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        source: a TOML file, the folder of a run, or the name of a shipped recipe such as "demo".
        overrides: settings to change, as {"section.key": value} or as the command line's "section.key=value".

    Returns:
        The resolved recipe, frozen. Its fields are those that `bertrain config` lists.

    Raises:
        UserError: there is no such recipe, or a key or value is wrong.

    Examples:
        >>> recipe = bertrain.load_recipe("demo", {"train.steps": 100, "name": "short"})
        >>> recipe.train.steps
        100
    """
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={_toml(key, value)}" for key, value in overrides.items()]
    return configs.recipe.load_recipe(source, overrides)


def resolved(recipe: Recipe | str | Path) -> Recipe:
    """A recipe as it is, or read from what `load_recipe` takes."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def _toml(key: str, value: object) -> str:
    """A Python value as TOML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(key, str(name))} = {_toml(key, each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(key, each) for each in value) + "]"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    if isinstance(value, (str, Path)):
        import tomlkit

        return tomlkit.string(str(value)).as_string()
    fix = "give a string, a number, True or False, a path, or a list or dict of these"
    raise UserError(f"{value!r} is not a value of a recipe", place=key, fix=fix)
