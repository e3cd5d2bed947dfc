"""The notation for what a template shows, in the language files and in recipes.

`{1}` is the template's first argument, `{-1}` its last unnamed one, `{unit}` the one named "unit", and `{unit/2}` the
first of these that is not empty. `{2:month}` is a month's name for its number. `{3=s:text}` is "text" if argument 3 is
"s". A part in brackets, `[ {2}]`, is omitted if none of its arguments is there. Everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_PLACEHOLDER = re.compile(r"\{(-?\w+(?:/-?\w+)*)(?:=([^{}:]*))?(?::([^{}]*))?\}")


def is_pattern(pattern: str) -> bool:
    """Return whether every brace and bracket belongs to the notation."""
    without = _PLACEHOLDER.sub("", pattern)
    return not set("{}").intersection(without) and not set("[]").intersection(re.sub(r"\[[^\[\]]*\]", "", without))


def fill_pattern(pattern: str, arguments: Mapping[str, str], months: Sequence[str] = ()) -> str:
    """Return the pattern with the arguments in place."""
    shown = []
    for optional, text in _PART.findall(pattern):
        values = [_value(placeholder, arguments, months) for placeholder in _PLACEHOLDER.finditer(optional or text)]
        if optional and not any(values):
            continue
        remaining = iter(values)
        shown.append(_PLACEHOLDER.sub(lambda _, remaining=remaining: next(remaining), optional or text))  # type: ignore[misc]
    return "".join(shown)


def _value(placeholder: re.Match[str], arguments: Mapping[str, str], months: Sequence[str]) -> str:
    names, wanted, form = placeholder.groups()
    value = next((found for name in names.split("/") if (found := _argument(name, arguments))), "")
    if wanted is not None:
        return form or "" if value == wanted else ""
    if form == "month" and value.isdecimal() and 1 <= int(value) <= len(months):
        return months[int(value) - 1]
    return value


def _argument(name: str, arguments: Mapping[str, str]) -> str:
    if name != "-1":
        return arguments.get(name, "")
    numbers = [int(key) for key in arguments if key.isdecimal() and arguments[key]]
    return arguments[str(max(numbers))] if numbers else ""
