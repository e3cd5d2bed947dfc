"""A row of the walk through the schema: a key, another value, and what has to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.integration.schema_walk.observing import Seen

# What the keys of each section can change. Anything else that changes is a fault.
CHANGEABLE = {
    "name": {"place", "script", "ranks"},
    "runs": {"place", "script", "ranks"},
    "license": {"license"},
    "data": {"shards", "vocabulary", "documents", "workers", "refusal", "weights"},
    "model": {"weights", "losses", "forwards"},
    "optimizer": {"rates", "losses", "optimizer"},
    "train": {
        *("weights", "rows", "rates", "losses", "forwards", "evaluations", "said", "traces", "staged", "shape"),
        *("checkpoints", "skipped", "refusal", "held", "offloaded", "tracked", "padded", "gathers", "histograms"),
    },
    "checkpoint": {"checkpoints", "in_background"},
    "cluster": {"script", "ranks", "limits"},
}


@dataclass(frozen=True)
class Row:
    """`key` set to `value`, beside `given` settings, changes exactly the facts `changes`, as `says` describes."""

    key: str
    value: Any
    changes: set[str]
    says: Callable[[Seen, Seen], bool]  # before, after
    given: dict[str, Any] = field(default_factory=dict)
    may: frozenset[str] = frozenset()  # facts that can also change, in the last digits

    @property
    def section(self) -> str:
        """The top-level table, or the key itself."""
        return self.key.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.key}={self.value}"
