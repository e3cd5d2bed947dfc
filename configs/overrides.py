"""Change single keys of a table of settings: `section.key=value` sets a key, `section.key=` unsets it."""

from __future__ import annotations

import tomllib
from typing import Any

from configs.errors import UserError
from configs.keys import did_you_mean, find_field, is_key, takes_text
from configs.schema import Section


def apply_override(root: type[Section], table: dict[str, Any], override: str) -> str:
    """Set or unset one key in the table and return the key."""
    key, separator, text = (part.strip() for part in override.partition("="))
    if not separator or not key:
        raise UserError("not an override", place=repr(override), fix="write section.key=value")
    if not text:
        unset(root, table, key, repr(override))
        return key
    *sections, name = key.split(".")
    holder = _holder(root, table, sections, key, repr(override))
    field = find_field(root, key.split("."))
    holder[name] = _parse_value(text, is_text=field is not None and takes_text(field))
    return key


def unset(root: type[Section], table: dict[str, Any], key: str, place: str) -> None:
    """Remove a key from the table, so that it has its default. `place` is the setting that requests it."""
    if not is_key(root, key):
        raise UserError(f"cannot unset the unknown key `{key}`", place=place, fix=did_you_mean(root, key))
    *sections, name = key.split(".")
    _holder(root, table, sections, key, place).pop(name, None)


def _holder(root: type[Section], table: dict[str, Any], sections: list[str], key: str, place: str) -> dict[str, Any]:
    """Return the table that holds the key; make the tables above it that are missing."""
    holder: Any = table
    for number, section in enumerate(sections):
        is_list = sections[number + 1 : number + 2] and sections[number + 1].isdigit()
        if isinstance(holder, dict) and is_list and section not in holder:
            raise UserError("no such key", place=place, fix=_entries(".".join(sections[: number + 1]), 0))
        if isinstance(holder, dict):
            holder = holder.setdefault(section, {})
        elif isinstance(holder, list) and section.isdigit() and int(section) < len(holder):
            holder = holder[int(section)]
        elif isinstance(holder, list):
            raise UserError("no such key", place=place, fix=_entries(".".join(sections[:number]), len(holder)))
        else:
            break
    if not isinstance(holder, dict):
        raise UserError("no such key", place=place, fix=did_you_mean(root, key))
    return holder


def _entries(key: str, count: int) -> str:
    """Return what exists in a list of tables."""
    if not count:
        return f"the recipe has no {key}: add [[{key}]] to it"
    last = f" to {key}.{count - 1}" if count > 1 else ""
    return f"the recipe has {key}.0{last}"


def _parse_value(text: str, *, is_text: bool) -> Any:
    """Parse a TOML value. Text that is not TOML, or an unquoted value of a string field, is taken as a bare string."""
    if is_text and not text.startswith(("'", '"')):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text  # more than one key: the text contains a line break
