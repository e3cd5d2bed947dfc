"""Load recipes by file or shipped name, and write a recipe as documented TOML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tomlkit
from pydantic.fields import FieldInfo

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.keys import section_of
from configs.loading import SHIPPED, Layer, read_layers, resolve, resolve_past
from configs.records import sealed
from configs.run_layout import RECIPE
from configs.schema import Recipe, Section

SITE = "BERTRAIN_SITE"  # names a TOML file whose [cluster] holds for every recipe that does not say otherwise


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Load and validate a recipe.

    `source` is a TOML file, the name of a recipe that is shipped with the package (`demo`), or a run's folder, which
    gives `runs` and `name`: the folder can have been moved. `overrides` are `section.key=value` strings, with the value
    in TOML or as a bare string. The site's profile (`BERTRAIN_SITE`) lies below the recipe and its bases. Raises
    `UserError` for any invalid input.
    """
    path = find_recipe(source)
    layers = read_layers(path)
    if not layers[-1].is_sealed:
        layers = [*_site_layers(), *layers]
    if path == Path(source) / RECIPE:
        run = path.parent if path.parent.name not in ("", "..") else path.parent.resolve()
        layers.append(Layer(path, {"runs": str(run.parent), "name": run.name}))
    return resolve(Recipe, layers, overrides)


def _site_layers() -> list[Layer]:
    """Return the settings that all recipes of a site share, from the file that `BERTRAIN_SITE` names."""
    name = os.environ.get(SITE)
    if not name:
        return []
    layers = read_layers(Path(name).expanduser())
    if others := sorted({key for layer in layers for key in layer.table} - {"cluster"}):
        fix = "move the rest to a recipe, which others can name as their `base`"
        raise UserError(f"a site's profile has [cluster] only, not {', '.join(others)}", place=name, fix=fix)
    return layers


def recipe_of_run(run: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a run's folder, to read the run, not to train it further.

    A value that an earlier version accepted, and this one does not, is kept and named, unless there are `overrides`.
    """
    if overrides:
        return load_recipe(run / RECIPE, overrides)
    return resolve_past(Recipe, read_layers(run / RECIPE))


def find_recipe(source: str | Path) -> Path:
    """Return the file of a recipe, given its path, its run's folder, or its shipped name."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{source}.toml"
    if path.name == str(source) and shipped.is_file():
        return shipped
    if path.is_dir() and (path / RECIPE).is_file():
        return path / RECIPE
    names = ", ".join(shipped_recipes())
    raise UserError("no such recipe", place=str(source), fix=f"give a TOML file, or one of the shipped names: {names}")


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that are shipped with the package, without task recipes (`…_tasks`)."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml") if not file.stem.endswith("_tasks"))


def described_recipes() -> dict[str, str]:
    """Return what each shipped recipe is for, by its name: the comment in its first line."""
    files = sorted(SHIPPED.glob("*.toml"))
    return {file.stem: file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for file in files}


def resolved_toml(recipe: Section, *, mark_changes: bool = False) -> str:
    """Return a complete recipe or task recipe as TOML, with each field's description as a comment above it.

    With `mark_changes`, each field that differs from its default is marked, and the default is given.
    """
    lines: list[str] = []
    _write_section(recipe, (), lines, mark_changes)
    return "\n".join(lines).strip() + "\n"


def run_toml(recipe: Recipe) -> str:
    """Return the content of a run's `recipe.toml`, which proves itself: its start alone would be a recipe, too."""
    return sealed(resolved_toml(recipe))


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the recipe of a run atomically; `load_recipe` reads back an equal recipe."""
    atomic_write_text(path, run_toml(recipe))


def _write_section(section: Section, path: tuple[str, ...], lines: list[str], mark_changes: bool) -> None:
    """Write plain values first, then sub-tables, as TOML requires. Fields that do not apply are left out."""
    nested: list[tuple[str, FieldInfo]] = []
    foreign = section.foreign_fields()
    for name, field in type(section).model_fields.items():
        if name in foreign:
            continue
        if section_of(field) is not None:
            nested.append((name, field))
        else:
            is_set = name in section.model_fields_set
            _write_field(name, field, getattr(section, name), lines, mark_changes and is_set)
    for name, field in nested:
        value = getattr(section, name)
        header = ".".join((*path, name))
        if value == []:
            lines.extend(["", f"# {field.description}", f"# [[{header}]] (none)"])
        for item in value if isinstance(value, list) else [value]:
            title = f"[[{header}]]" if isinstance(value, list) else f"[{header}]"
            lines.extend(["", f"# {field.description}", title])
            _write_section(item, (*path, name), lines, mark_changes)


def _write_field(name: str, field: FieldInfo, value: Any, lines: list[str], mark_changes: bool) -> None:
    lines.append(f"# {field.description}{range_of(field)}")
    line = f"# {name} = (unset)" if value is None else f"{name} = {toml_value(value)}"
    if mark_changes and not field.is_required() and value != field.get_default():
        line += f"  # changed; default: {field.get_default()!r}"
    lines.append(line)


def toml_value(value: Any) -> str:
    """Return a value of a field as TOML."""
    if not isinstance(value, dict):
        return str(tomlkit.item(value).as_string())
    table = tomlkit.inline_table()
    table.update(value)
    return str(table.as_string())


def range_of(field: FieldInfo) -> str:
    """Return the field's bounds or choices as text."""
    bounds: list[str] = []
    for rule in field.metadata:
        for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            bound = getattr(rule, attribute, None)
            if bound is not None:
                bounds.append(f"{sign} {bound}")
    if get_origin(field.annotation) is Literal:
        bounds.append(" | ".join(map(str, get_args(field.annotation))))
    return f" ({', '.join(bounds)})" if bounds else ""
