"""Finished parts: the files whose presence means that a part of the work is done and is never done again.

This is the one definition of progress: a rerun skips these parts, a failed preparation keeps its folder if there are
any, and a stopped one ends with exit code 75 if it has made some, new ones or in place of earlier ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from preprocessing.corpus import FINISHED_FILES
from preprocessing.storage import Stamp, Store

GROUPS = "groups"  # the folder of the groups' side files
WORK = ".prepare"  # the folder of everything that only an unfinished data set needs
VOCABULARY_RECORD = f"{GROUPS}/vocabulary.json"  # the preparation that trained the vocabulary, and its digest
_GROUP = "group"
_KINDS = {
    **{f"{WORK}/{pattern}": kind for pattern, kind in FINISHED_FILES.items()},
    VOCABULARY_RECORD: "trained vocabulary",
    f"{GROUPS}/*.*.json": _GROUP,
}


def finished_parts(store: Store) -> dict[str, Stamp]:
    """Return the finished parts in a data set's folder: their names, and the stamps of their files."""
    found = {
        f"{folder}/{name}": stamp for folder in (WORK, GROUPS) for name, stamp in store.below(folder).stamps().items()
    }
    return {name: stamp for name, stamp in found.items() if _kind(name)}


def new_parts(parts: Mapping[str, Stamp], before: Mapping[str, Stamp]) -> list[str]:
    """Return the names of the parts that were made since `before`, also in place of an earlier one."""
    return [name for name, stamp in parts.items() if before.get(name) != stamp]


def finished_groups_exist(store: Store) -> bool:
    """Return whether any group is finished."""
    return any(_kind(f"{GROUPS}/{name}") == _GROUP for name in store.below(GROUPS).names())


def described(parts: Collection[str]) -> str:
    """Return the number of parts of each kind, such as "12 cleaned work items, 3 groups"."""
    counts = Counter(_kind(name) for name in parts)
    return ", ".join(
        f"{counts[kind]:,} {kind}{'s' if counts[kind] > 1 else ''}" for kind in _KINDS.values() if counts[kind]
    )


def _kind(name: str) -> str:
    return next((kind for pattern, kind in _KINDS.items() if fnmatchcase(name, pattern)), "")
