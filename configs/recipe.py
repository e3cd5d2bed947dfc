"""Read a recipe: TOML files, one upon another, and `section.key=value` overrides, to a checked `Recipe`."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomlkit
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from configs.errors import UserError
from configs.files import atomic_write_text
from configs.run_layout import RECIPE
from configs.schema import Recipe, Section

SHIPPED = Path(__file__).parent
BASE_KEY = "base"


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Resolve a recipe.

    `source` is a TOML file, or the name of a recipe shipped with the package (`demo`). `overrides` are
    `section.key=value` strings, the value in TOML or as a bare string. Raises `UserError` for anything wrong.
    """
    path = find_recipe(source)
    table = _read_with_bases(path, ())
    places = {_apply_override(table, override): override for override in overrides}
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise _explain(error.errors()[0], str(path), places) from None


def find_recipe(source: str | Path) -> Path:
    """The file behind a recipe's path or shipped name."""
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
    """Names of the recipes that come with the package."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def resolved_toml(recipe: Recipe, *, mark_changes: bool = False) -> str:
    """The whole recipe as TOML, each field under its documentation.

    With `mark_changes`, a field that differs from the default says so and names the default.
    """
    lines: list[str] = []
    _write_section(recipe, (), lines, mark_changes)
    return "\n".join(lines).rstrip() + "\n"


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the resolved recipe, atomically; `load_recipe` reads it back equal."""
    atomic_write_text(path, resolved_toml(recipe))


def _read_with_bases(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """The file's table laid over that of its `base`."""
    if path.resolve() in chain:
        raise UserError("this recipe is its own base", place=str(path), fix="remove one of the `base` lines")
    table = _read_toml(path)
    base = table.pop(BASE_KEY, None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise UserError("`base` is not a string", place=str(path), fix='write base = "other.toml"')
    return _merge(_read_with_bases(_find_base(path, base), (*chain, path.resolve())), table)


def _find_base(path: Path, base: str) -> Path:
    """Beside the recipe that names it, or shipped."""
    for candidate in (path.parent / base, SHIPPED / base, SHIPPED / f"{base}.toml"):
        if candidate.is_file():
            return candidate
    fix = "name a file relative to this one, or a shipped recipe"
    raise UserError(f"its base {base!r} does not exist", place=str(path), fix=fix)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", place=str(path), fix="mend that line") from error
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8 text", place=str(path), fix="save the file as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix="check its permissions") from error


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply_override(table: Any, override: str) -> str:
    """Set one value in the table; returns its key."""
    key, separator, text = (part.strip() for part in override.partition("="))
    if not separator or not key:
        raise UserError("not an override", place=repr(override), fix="write section.key=value, e.g. train.steps=100")
    *sections, name = key.split(".")
    for section in sections:
        if isinstance(table, list) and section.isdigit() and int(section) < len(table):
            table = table[int(section)]
        elif isinstance(table, dict):
            table = table.setdefault(section, {})
        else:
            break
    if not isinstance(table, dict):
        raise UserError("no such key", place=repr(override), fix=_did_you_mean(key))
    field = _find_field(Recipe, key.split("."))
    table[name] = _parse_value(text, is_text=field is not None and _takes_text(field))
    return key


def _parse_value(text: str, *, is_text: bool) -> Any:
    """A TOML value; a bare string where it is not TOML, or where text is wanted and it is not quoted."""
    if is_text and not text.startswith(("'", '"')):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text  # more than one: a line break is in the text


def _explain(error: ErrorDetails, file: str, overrides: dict[str, str]) -> UserError:
    """The first thing that is wrong, in the recipe's own terms."""
    parts = [str(part) for part in error["loc"]]
    key = ".".join(parts)
    place = next((repr(text) for name, text in overrides.items() if _is_within(key, name)), file)
    if error["type"] == "extra_forbidden":
        place = next((repr(text) for name, text in overrides.items() if _is_within(name, key)), place)
        return UserError(f"unknown key `{key}`", place=place, fix=_did_you_mean(key))
    if error["type"] == "missing":
        return UserError(f"`{key}` is missing", place=place, fix=_describe(key))
    if error["type"] == "model_type":
        return UserError(f"`{key}` is a section, not a value", place=place, fix=f"write [{key}] and its keys below it")
    message = error["msg"].removeprefix("Value error, ")
    field = _find_field(Recipe, parts) if parts else None  # none: a rule between sections
    if field is None or _section_of(field) is not None:  # a rule between fields: the message names them
        return UserError(message, place=place)
    return UserError(f"`{key}` = {error['input']!r}: {message}", place=place, fix=_describe(key))


def _is_within(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def _did_you_mean(key: str) -> str:
    """The nearest real key, by the whole path and by the last name alone."""
    real = list(_all_keys(Recipe))
    name = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, real, n=1, cutoff=0.6)
    same_name = [candidate for candidate in real if candidate.rsplit(".", 1)[-1] == name]
    by_name = difflib.get_close_matches(name, [candidate.rsplit(".", 1)[-1] for candidate in real], n=1, cutoff=0.6)
    named = [candidate for candidate in real if by_name and candidate.endswith(by_name[0])]
    found = same_name or near or named
    return f"did you mean `{found[0]}`?" if found else "`bertrain config RECIPE` lists every key"


def _describe(key: str) -> str:
    field = _find_field(Recipe, key.split("."))
    return field.description or "" if field else ""


def _all_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        nested = _section_of(field)
        if nested is not None:
            yield from _all_keys(nested, f"{prefix}{name}.")


def _find_field(section: type[Section], parts: list[str]) -> FieldInfo | None:
    field = section.model_fields.get(parts[0])
    nested = _section_of(field) if field else None
    rest = [part for part in parts[1:] if not part.isdigit()]
    return _find_field(nested, rest) if nested and rest else field


def _section_of(field: FieldInfo) -> type[Section] | None:
    """The section type behind a field: itself, or the element type of a list of sections."""
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _takes_text(field: FieldInfo) -> bool:
    """Whether the field is a string, or one that may be unset."""
    is_union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if is_union else (field.annotation,)
    return any(kind is str or (get_origin(kind) is Annotated and get_args(kind)[0] is str) for kind in kinds)


def _write_section(section: Section, path: tuple[str, ...], lines: list[str], mark_changes: bool) -> None:
    """Plain values first, then sub-tables: the order that TOML asks for."""
    nested: list[tuple[str, FieldInfo]] = []
    for name, field in type(section).model_fields.items():
        if _section_of(field) is not None:
            nested.append((name, field))
        else:
            _write_field(name, field, getattr(section, name), lines, mark_changes)
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
    lines.append(f"# {field.description}{_range_of(field)}")
    line = f"# {name} = (unset)" if value is None else f"{name} = {tomlkit.item(value).as_string()}"
    if mark_changes and not field.is_required() and value != field.get_default():
        line += f"  # changed; default: {field.get_default()!r}"
    lines.append(line)


def _range_of(field: FieldInfo) -> str:
    """The field's bounds or choices, as text."""
    bounds: list[str] = []
    for rule in field.metadata:
        for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            bound = getattr(rule, attribute, None)
            if bound is not None:
                bounds.append(f"{sign} {bound}")
    if get_origin(field.annotation) is Literal:
        bounds.append(" | ".join(map(str, get_args(field.annotation))))
    return f" ({', '.join(bounds)})" if bounds else ""
