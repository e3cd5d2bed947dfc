"""Read settings from layered TOML files and `section.key=value` overrides, and validate them against a section type.

Recipes and task recipes are both read here, so that bases, overrides and error messages are the same for both.
"""

from __future__ import annotations

import copy
import logging
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from configs.errors import UserError
from configs.files import read_bounded
from configs.keys import describe, did_you_mean, find_field, names_file, section_of
from configs.overrides import apply_override, unset
from configs.records import SEALED, is_seal_broken
from configs.run_layout import RECIPE
from configs.schema import Section

SHIPPED = Path(__file__).parent
UNSEAL = (
    "undo the edit and give keys as `bertrain train RUN section.key=value`, or train with the recipe that started the "
    "run; to accept the file as it is, remove its first and last lines"
)
SECTIONS = {"model_type": "a section", "list_type": "a list of sections"}  # by pydantic's type of error
BASE_KEY, UNSET_KEY = "base", "unset"

log = logging.getLogger(__name__)

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Layer:
    """The settings of one file, as written, and the keys of its bases that it returns to their defaults."""

    path: Path
    table: dict[str, Any]
    unset: tuple[str, ...] = ()
    is_sealed: bool = False  # written by bertrain for a run: complete as it is


def read_layers(path: Path) -> list[Layer]:
    """Read a TOML file and the chain of its `base` files; the lowest layer comes first."""
    return _read_with_bases(path, ())


def resolve(root: type[SectionT], layers: Sequence[Layer], overrides: Sequence[str] = ()) -> SectionT:
    """Merge the files in order, apply the overrides, and validate the result.

    An override is `section.key=value`, with the value in TOML or as a bare string; `section.key=` unsets the key.
    Raises `UserError` for any invalid setting; the error names the override or the file that caused it.
    """
    table: dict[str, Any] = {}
    for layer in layers:
        for key in layer.unset:
            unset(root, table, key, str(layer.path))
        table = _merge(table, copy.deepcopy(_locate_files(root, layer.table, _folder_of(layer))))
    places = {apply_override(root, table, override): override for override in overrides}
    try:
        return root.model_validate(table)
    except ValidationError as error:
        raise _explain(root, error.errors()[0], layers, places) from None


def resolve_past(root: type[SectionT], layers: Sequence[Layer]) -> SectionT:
    """Return settings that an earlier version accepted, without the rules of this one.

    Values of another type are refused as by `resolve`.
    """
    table: dict[str, Any] = {}
    for layer in layers:
        table = _merge(table, layer.table)
    try:
        return root.model_validate(table)
    except ValidationError as error:
        errors = error.errors()
        if any(each["type"].endswith("_type") or each["type"] == "missing" for each in errors):
            raise _explain(root, errors[0], layers, {}) from None
        log.warning("%s Kept, since it made this run.", _explain(root, errors[0], layers, {}))
        return _as_stated(root, table)


def _as_stated(kind: type[SectionT], table: dict[str, Any]) -> SectionT:
    """Return a section with the values of `table`; each section in it that follows the rules is validated."""
    values: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        nested, value = section_of(field), table.get(name)
        if nested and isinstance(value, dict):
            values[name] = _valid_or_as_stated(nested, value)
        elif nested and isinstance(value, list):
            values[name] = [_valid_or_as_stated(nested, item) for item in value]
        elif name in table:
            values[name] = value
    made: SectionT = kind.model_construct(**values)  # type: ignore[assignment]  # pydantic's plugin says Section
    return made


def _valid_or_as_stated(kind: type[Section], table: dict[str, Any]) -> Section:
    try:
        return kind.model_validate(table)
    except ValidationError:
        return _as_stated(kind, table)


def _folder_of(layer: Layer) -> Path:
    """Return the folder to which a recipe's file paths are relative; for a shipped recipe, the working directory."""
    return Path() if layer.path.parent == SHIPPED else layer.path.parent


def _read_with_bases(path: Path, chain: tuple[Path, ...]) -> list[Layer]:
    if path.resolve() in chain:
        raise UserError("this recipe is its own base", place=str(path), fix="remove one of the `base` lines")
    text = _read_text(path)
    table = _parse(text, path)
    base, keys = table.pop(BASE_KEY, None), table.pop(UNSET_KEY, [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise UserError("`unset` is not a list of keys", place=str(path), fix='write unset = ["section.key"]')
    layer = Layer(path, table, tuple(keys), is_sealed=text.startswith(SEALED))
    if base is None:
        return [layer]
    if not isinstance(base, str):
        raise UserError("`base` is not a string", place=str(path), fix='write base = "other.toml"')
    return [*_read_with_bases(_find_base(path, base), (*chain, path.resolve())), layer]


def _find_base(path: Path, base: str) -> Path:
    """Find a base next to the recipe that names it, or among the shipped recipes."""
    for candidate in (path.parent / base, SHIPPED / base, SHIPPED / f"{base}.toml"):
        if candidate.is_file():
            return candidate
    fix = "name a file relative to this one, or a shipped recipe"
    raise UserError(f"its base {base!r} does not exist", place=str(path), fix=fix)


def _read_text(path: Path) -> str:
    try:
        content = read_bounded(path)
        text = content.decode("utf-8-sig").replace("\r\n", "\n")  # as editors on Windows write it
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8 text", place=str(path), fix="save the file as UTF-8") from error
    except OSError as error:
        fix = "check the file's name and permissions"
        raise UserError(f"cannot read: {error.strerror}", place=str(path), fix=fix) from error
    if path.name == RECIPE and is_seal_broken(text):
        raise UserError("it is not as bertrain wrote it: edited or damaged", place=str(path), fix=UNSEAL)
    return text


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", place=str(path), fix="fix that line") from error


def _locate_files(root: type[Section], table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the table with every file path made absolute, relative to the folder of its TOML file."""
    return {key: _locate_file(root, key, value, folder) for key, value in table.items()}


def _locate_file(root: type[Section], key: str, value: Any, folder: Path) -> Any:
    field = root.model_fields.get(key)
    nested = section_of(field) if field else None
    if nested and isinstance(value, dict):
        return _locate_files(nested, value, folder)
    if nested and isinstance(value, list):
        return [_locate_files(nested, item, folder) if isinstance(item, dict) else item for item in value]
    is_relative = isinstance(value, str) and value and not value.startswith(("~", "$"))  # the others are expanded later
    return str((folder / value).absolute()) if field and names_file(field) and is_relative else value


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _explain(root: type[Section], error: ErrorDetails, layers: Sequence[Layer], overrides: dict[str, str]) -> UserError:
    """Describe the first validation error in terms of the recipe."""
    parts = [str(part) for part in error["loc"]]
    key = ".".join(parts)
    is_unknown = error["type"] == "extra_forbidden"
    blamed = [
        text for name, text in overrides.items() if _is_within(key, name) or (is_unknown and _is_within(name, key))
    ]
    place = repr(blamed[-1]) if blamed else str(_writer_of(parts, layers).path)
    if is_unknown:
        return UserError(f"unknown key `{key}`", place=place, fix=did_you_mean(root, key))
    field = find_field(root, parts) if parts else None  # None: a rule between sections
    is_section = field is None or section_of(field) is not None
    if error["type"] == "missing":
        how = f"add the section {key}" if is_section else f"set {key}=VALUE"
        return UserError(f"`{key}` is missing", place=place, fix=f"{how}. {describe(root, key)}")
    if is_section and error["type"] in SECTIONS:
        whole = ".".join(part for part in parts if not part.isdigit())
        header = f"[{key}]" if key == whole and error["type"] == "model_type" else f"[[{whole}]]"
        cause = f"`{key}` is {SECTIONS[error['type']]}, not a value"
        return UserError(cause, place=place, fix=f"write {header} and its keys below it")
    message = error["msg"].removeprefix("Value error, ")
    if is_section:  # a rule between fields: the message names them
        named = [text for name, text in overrides.items() if _is_named(name, key, message)]
        return UserError(message, place=repr(named[-1]) if named else place)
    return UserError(f"`{key}` = {error['input']!r}: {message}", place=place, fix=describe(root, key))


def _is_named(name: str, section: str, message: str) -> bool:
    """Return whether a message names this key: in full or, if it is in `section`, by its last part."""
    section_of_key, _, last = name.rpartition(".")
    return name in message or (section_of_key == section and re.search(rf"\b{re.escape(last)}\b", message) is not None)


def _is_within(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def _writer_of(parts: Sequence[str], layers: Sequence[Layer]) -> Layer:
    """Return the top layer that sets the key, else the closest enclosing section; the top layer if none does."""
    lengths = range(len(parts), 0, -1)
    writers = (layer for length in lengths for layer in reversed(layers) if _contains(layer.table, parts[:length]))
    return next(writers, layers[-1])


def _contains(value: Any, parts: Sequence[str]) -> bool:
    for part in parts:
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True
