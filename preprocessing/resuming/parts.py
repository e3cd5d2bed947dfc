"""Finished parts: the files whose presence means that a part of the work is done and is never done again.

This is the one definition of progress: a rerun skips these parts, a failed preparation keeps its folder if there are
any, and a stopped one ends with exit code 75 if there are more than before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from fnmatch import fnmatchcase

from preprocessing.corpus import FINISHED_FILES
from preprocessing.storage import Store

GROUPS = "groups"  # the folder of the groups' side files
WORK = ".prepare"  # the folder of everything that only an unfinished data set needs
_KINDS = {f"{WORK}/{pattern}": kind for pattern, kind in FINISHED_FILES.items()} | {f"{GROUPS}/*.*.json": "group"}


def finished_parts(store: Store) -> frozenset[str]:
    """Return the names of the finished parts in a data set's folder."""
    found = (f"{folder}/{name}" for folder in (WORK, GROUPS) for name in store.below(folder).names())
    return frozenset(name for name in found if _kind(name))


def finished_groups_exist(store: Store) -> bool:
    """Return whether any group is finished."""
    return any(_kind(f"{GROUPS}/{name}") for name in store.below(GROUPS).names())


def described(parts: Collection[str]) -> str:
    """Return the number of parts of each kind, such as "12 cleaned work items, 3 groups"."""
    counts = Counter(_kind(name) for name in parts)
    return ", ".join(
        f"{counts[kind]:,} {kind}{'s' if counts[kind] > 1 else ''}" for kind in _KINDS.values() if counts[kind]
    )


def _kind(name: str) -> str:
    return next((kind for pattern, kind in _KINDS.items() if fnmatchcase(name, pattern)), "")
