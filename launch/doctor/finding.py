"""The result of one check of `bertrain doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """The result of one check. `found` is equal on identical nodes; `measured` can differ between them."""

    name: str
    level: str
    found: str
    fix: str = ""
    measured: str = ""
