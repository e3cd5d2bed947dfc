"""One thing that `bertrain doctor` has looked at, and the mend where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `found` is the same on nodes that are alike; `measured` need not be."""

    name: str
    level: str
    found: str
    fix: str = ""
    measured: str = ""
