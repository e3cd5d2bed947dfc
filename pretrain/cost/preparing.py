"""The cost of preparing a data set: processor time and disk.

The speed of reading and tokenising depends on the corpus format (`FORMATS` in preprocessing.documents); it was measured
on English Wikipedia with one core at about 3 GHz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from preprocessing.dataset import core_seconds, shard_bytes


@dataclass(frozen=True)
class PreparationCost:
    """The cost of preparing a data set."""

    text_gb: float
    core_hours: float
    shards_gb: float

    def workers_for(self, hours: float) -> int:
        """Return the number of cores that finish in this time; the cost is linear."""
        return math.ceil(self.core_hours / hours)


def preparation(text_gb: float, passes: int, text_mb_s: float) -> PreparationCost:
    """Return the cost of preparing `text_gb` of text. `text_mb_s`: speed of a core before the passes, in MB/s."""
    core_s = core_seconds(text_gb * 1e3, passes, text_mb_s)
    return PreparationCost(text_gb, core_s / 3600, shard_bytes(text_gb, passes))
