"""Count what became of the documents of each input file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from preprocessing.corpus import Dropped
from preprocessing.dataset import FileCounts, InputEntry, Lost
from preprocessing.rows import Outcome

Counts = Mapping[int, FileCounts]  # by the file's place in the plan


def count_files(outcomes: Iterable[Outcome]) -> dict[int, FileCounts]:
    """Return the counts of each file that the documents come from."""
    of_files: defaultdict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        of_files[outcome.file].append(outcome)
    return {file: _count(of_file) for file, of_file in sorted(of_files.items())}


def add_counts(one: Counts, other: Counts) -> dict[int, FileCounts]:
    """Return the counts of the files in `other`, with those in `one` added."""
    return {file: one.get(file, FileCounts()) + counts for file, counts in other.items()}


def with_counts(inputs: Sequence[InputEntry], counts: Counts) -> list[InputEntry]:
    """Return the manifest's entries of the files, with their counts."""
    return [entry.model_copy(update={"counts": counts.get(file, FileCounts())}) for file, entry in enumerate(inputs)]


def _count(outcomes: Sequence[Outcome]) -> FileCounts:
    documents, sizes, repaired = Counter[str](), Counter[str](), Counter[str]()
    for outcome in outcomes:
        if isinstance(outcome, Dropped):
            documents[outcome.cause] += 1
            sizes[outcome.cause] += outcome.read_bytes
        else:
            repaired.update(set(outcome.repairs))
    return FileCounts(
        documents=len(outcomes),
        read_bytes=sum(outcome.read_bytes for outcome in outcomes),
        dropped={cause: Lost(documents=documents[cause], bytes=sizes[cause]) for cause in sorted(documents)},
        repaired=dict(sorted(repaired.items())),
    )
