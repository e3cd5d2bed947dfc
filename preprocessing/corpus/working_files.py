"""The names of the corpus's files in the working folder, and what each of them means for a rerun.

Files about the text of one work item are named after the item's content. Files about the whole corpus are not: they
must be removed when the corpus or the recipe changes.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from preprocessing.documents import UNPACKED_FILES, WorkItem

BOILERPLATE = "boilerplate.npy"  # written last: if it exists, the comparison is complete
FINISHED_FILES = {
    UNPACKED_FILES: "unpacked file",  # those whose presence means that a part of the work is done, and what the part is
    "cleaned-*.json": "cleaned work item",
    "comparison/*/*-[0-9]*[0-9]": "comparison step",
    BOILERPLATE: "comparison of all documents",
    "sample-*.json": "sampled work item",
}
_CORPUS_WIDE = ("comparison/*/*", "drops-*.npy", BOILERPLATE, "sample-*")


def is_corpus_wide(name: str) -> bool:
    """Return whether a file depends on the whole corpus."""
    return any(PurePosixPath(name).match(pattern) for pattern in _CORPUS_WIDE)


def is_cleaned_file(name: str, work_names: Collection[str]) -> bool:
    """Return whether a file holds the cleaned text or the fingerprints of one of these work items."""
    kind, _, rest = PurePosixPath(name).stem.partition("-")
    return kind in ("cleaned", "fingerprints") and rest in work_names


def documents_name(item: WorkItem) -> str:
    """Return the name of the file of the item's cleaned documents."""
    return f"cleaned-{item.work_name}.arrow"


def fingerprints_name(item: WorkItem) -> str:
    """Return the name of the file of the fingerprints of the item's documents."""
    return f"fingerprints-{item.work_name}.arrow"


def cleaned_entry_name(item: WorkItem) -> str:
    """Return the name of the file with the counts of the item's cleaned documents, which is written last."""
    return f"cleaned-{item.work_name}.json"


def drops_name(item: WorkItem) -> str:
    """Return the name of the file that lists the item's dropped documents."""
    return f"drops-{item.work_name}.npy"


def sample_name(item: WorkItem) -> str:
    """Return the name of the file of the item's part of the vocabulary's sample."""
    return f"sample-{item.work_name}.txt"


def sample_entry_name(item: WorkItem) -> str:
    """Return the name of the file with the counts of the item's part of the sample, which is written last."""
    return f"sample-{item.work_name}.json"
