"""A corpus that grows: the numbers under which the groups of a larger corpus lie beside those of the earlier one.

While files are added to a finished data set, its manifest and all of its shards stay as they are. A work item whose
groups are already there keeps its number; any other item gets a number that was never used. So nothing is replaced, and
the manifest of the larger data set takes over at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from preprocessing.dataset import InputEntry
from preprocessing.documents import Plan, WorkItem
from preprocessing.resuming.parts import GROUPS, WORK
from preprocessing.resuming.work_records import read_record, write_record
from preprocessing.storage import Store

_NUMBERS = f"{WORK}/numbers.json"  # numbers that an interrupted run chose, by the keys of the groups


def has_grown(earlier: Sequence[InputEntry], now: Sequence[InputEntry]) -> bool:
    """Return whether files were added, and every earlier file is still there with the same content."""
    before, after = (Counter((entry.corpus, entry.sha256) for entry in entries) for entries in (earlier, now))
    return before < after


def renumbered(plan: Plan, numbers: Sequence[int]) -> Plan:
    """Return the plan with these numbers of its items, in order."""
    return replace(
        plan, items=tuple(replace(item, number=number) for item, number in zip(plan.items, numbers, strict=True))
    )


def item_numbers(plan: Plan) -> tuple[int, ...]:
    """Return the numbers of the plan's items, in order; () if they are 0, 1, 2, and so on."""
    numbers = tuple(item.number for item in plan.items)
    return () if numbers == tuple(range(len(numbers))) else numbers


def numbers_beside(store: Store, plan: Plan, key_of: Callable[[WorkItem], str]) -> list[int]:
    """Return a number for each item: that of its finished groups, or one that is used by no group in the folder."""
    taken = _finished_numbers(store)
    taken.update(read_record(store, _NUMBERS) or {})
    fresh = max(taken.values(), default=-1) + 1
    chosen = {}
    for key in map(key_of, plan.items):
        if key not in taken:
            taken[key] = fresh
            fresh += 1
        chosen[key] = taken[key]
    write_record(store, _NUMBERS, chosen)
    return list(chosen.values())


def _finished_numbers(store: Store) -> dict[str, int]:
    """Return the number of each work item whose first group is finished, by the key of its groups."""
    groups = store.below(GROUPS)
    numbers = {}
    for name in sorted(groups.names()):
        if PurePosixPath(name).match("*.0000.json"):
            found = read_record(groups, name) or {}  # a damaged group is made again
            numbers[str(found.get("digest"))] = int(name.partition(".")[0])
    return numbers
