"""Fields of classes with the comments beside them, which are their documentation."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from launch.docs.generate.table import code, prose, table

_FIELD = re.compile(r"^    (\w+): ([^#]+?)(?:\s+# (.*))?$")
_ABOVE = re.compile(r"^    # (.*)$")


@dataclass(frozen=True)
class Documented:
    """A field of a class: its name, its type, and its comment."""

    name: str
    kind: str
    meaning: str


def documented_fields(kind: type[Any]) -> list[Documented]:
    """Return the fields in the order of the source. The comment stands beside a field, or in the line above it."""
    found: list[Documented] = []
    above = ""
    for line in inspect.getsource(kind).splitlines():
        comment, field = _ABOVE.match(line), _FIELD.match(line)
        if field:
            found.append(Documented(field[1], field[2].partition(" = ")[0].strip(), field[3] or above))
        above = comment[1] if comment else ""
    return found


def fields_table(kind: type[Any], names: tuple[str, str, str] = ("field", "type", "meaning")) -> str:
    """Return the class's fields as a Markdown table."""
    return table(names, [(code(each.name), code(each.kind), prose(each.meaning)) for each in documented_fields(kind)])
