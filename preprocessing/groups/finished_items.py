"""The groups that earlier runs finished. They are found from the beginnings of their side files, without Beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from preprocessing.documents import WorkItem
from preprocessing.groups.group import GroupHead, finished_groups, read_intact_head
from preprocessing.groups.group_keys import GroupKeys
from preprocessing.storage import LocalStore, Store

_THREADS = 32  # for side files at URLs
_BATCH_ITEMS = 1_024


@dataclass
class FinishedGroups:
    """The work items all of whose groups are finished, and what these groups hold."""

    items: set[WorkItem] = field(default_factory=set)
    groups: int = 0
    documents: int = 0  # of the input

    @property
    def bytes(self) -> int:
        """The size of the finished work items, as stored."""
        return sum(item.size for item in self.items)


def find_finished_groups(
    store: Store, items: Sequence[WorkItem], keys: GroupKeys, tick: Callable[[], None]
) -> FinishedGroups:
    """Return what is finished of these work items. `tick` is called now and then, and can raise to stop the search."""
    found = FinishedGroups()
    with ThreadPoolExecutor(1 if isinstance(store, LocalStore) else _THREADS) as pool:
        for start in range(0, len(items), _BATCH_ITEMS):
            tick()
            batch = items[start : start + _BATCH_ITEMS]
            for item, heads in zip(batch, pool.map(partial(_heads, store, keys), batch), strict=True):
                if heads and heads[-1].is_last:
                    found.items.add(item)
                    found.groups += len(heads)
                    found.documents += sum(head.sources for head in heads)
    return found


def _heads(store: Store, keys: GroupKeys, item: WorkItem) -> list[GroupHead]:
    return list(finished_groups(store, item, keys.of(item), read_intact_head))
