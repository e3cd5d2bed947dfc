"""Count what became of the documents of each input file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from preprocessing.corpus import Dropped
from preprocessing.dataset import FileCounts, InputEntry, Lost
from preprocessing.documents import WorkItem
from preprocessing.rows import Outcome

Counts = Mapping[int, FileCounts]  # by the file's place in the plan, or by the span's place in its work item


def count_spans(outcomes: Iterable[Outcome]) -> dict[int, FileCounts]:
    """Return the counts of each span of a work item that the documents come from."""
    of_spans: defaultdict[int, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        of_spans[outcome.span].append(outcome)
    return {span: _count(of_span) for span, of_span in sorted(of_spans.items())}


def add_counts(sums: dict[int, FileCounts], item: WorkItem, spans: Counts) -> None:
    """Add the counts of a work item's spans to the sums by file."""
    for span, counts in spans.items():
        file = item.spans[span].file
        sums[file] = sums.get(file, FileCounts()) + counts


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
