"""The key of a work item's groups: a digest of everything that determines their bytes.

A group is reused only under the same key. So a group survives a change of other files of the corpus, but not a change
of its own text, of the recipe, of the vocabulary, or of the decisions about its documents and lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from configs.schema import TextConfig, digest_of
from preprocessing.corpus import decisions_digest, read_boilerplate
from preprocessing.documents import WorkItem
from preprocessing.storage import Store


@dataclass(frozen=True)
class GroupKeys:
    """Computes the keys of the groups of one data set."""

    vocabulary_sha256: str
    config: TextConfig
    work: Store

    def of(self, item: WorkItem) -> str:
        """Return the key of the item's groups. The comparison of documents must be complete, if there is one."""
        decisions = decisions_digest(item, self._boilerplate, self.work) if self.config.compares_documents else ""
        return digest_of({"item": item.key, "vocabulary": self.vocabulary_sha256, "decisions": decisions})

    @cached_property
    def _boilerplate(self) -> NDArray[np.uint64]:
        return read_boilerplate(self.work)
