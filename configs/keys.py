"""The keys of a section type: their fields, the values that they accept, and the closest match to a misspelled key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from configs.schema import Section

FILE: dict[str, Any] = {"is_file": True}  # marks a field that names a file, relative to the TOML file that sets it


def find_field(root: type[Section], parts: Sequence[str]) -> FieldInfo | None:
    """Return the field at a dotted key, or the deepest existing field on its path. List indexes are skipped."""
    field = root.model_fields.get(parts[0])
    nested = section_of(field) if field else None
    rest = _without_indexes(parts[1:])
    return find_field(nested, rest) if nested and rest else field


def is_key(root: type[Section], key: str) -> bool:
    """Return whether the dotted key exists. List indexes are skipped."""
    return ".".join(_without_indexes(key.split("."))) in _all_keys(root)


def section_of(field: FieldInfo) -> type[Section] | None:
    """Return the section type of a field: its own type, or the element type of a list of sections."""
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def takes_text(field: FieldInfo) -> bool:
    """Return whether the field is a string or an optional string."""
    is_union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if is_union else (field.annotation,)
    return any(kind is str or (get_origin(kind) is Annotated and get_args(kind)[0] is str) for kind in kinds)


def names_file(field: FieldInfo) -> bool:
    """Return whether the field is marked `FILE`."""
    return isinstance(field.json_schema_extra, dict) and "is_file" in field.json_schema_extra


def describe(root: type[Section], key: str) -> str:
    """Return the description of a key, or an empty string if there is none."""
    field = find_field(root, key.split("."))
    return field.description or "" if field else ""


def did_you_mean(root: type[Section], key: str) -> str:
    """Return a hint with the closest existing key, compared by the full path or by the last name alone."""
    real = list(_all_keys(root))
    requested = ".".join(_without_indexes(key.split(".")))
    name = requested.rpartition(".")[2]
    near = difflib.get_close_matches(requested, real, n=1, cutoff=0.6)
    same_name = difflib.get_close_matches(requested, [each for each in real if _name(each) == name], n=1, cutoff=0.0)
    by_name = difflib.get_close_matches(name, [_name(each) for each in real], n=1, cutoff=0.6)
    named = [each for each in real if by_name and each.endswith(by_name[0])]
    found = same_name or near or named
    return f"did you mean `{_with_indexes(found[0], key)}`?" if found else "`bertrain config RECIPE` lists every key"


def _name(key: str) -> str:
    return key.rpartition(".")[2]


def _all_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        nested = section_of(field)
        if nested is not None:
            yield from _all_keys(nested, f"{prefix}{name}.")


def _without_indexes(parts: Sequence[str]) -> list[str]:
    return [part for part in parts if not part.isdigit()]


def _with_indexes(real: str, key: str) -> str:
    """Insert the list indexes of `key` into `real` after the same names: `tasks.epochs` becomes `tasks.0.epochs`."""
    parts = key.split(".")
    indexes = {name: index for name, index in pairwise(parts) if index.isdigit()}
    return ".".join(f"{name}.{indexes[name]}" if name in indexes else name for name in real.split("."))
