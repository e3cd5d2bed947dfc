"""Read the documents of a work item as the data set uses them: cleaned and deduplicated across the complete corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from configs.schema import TextConfig
from preprocessing.corpus.boilerplate import without_boilerplate
from preprocessing.corpus.cleaned_files import read_cleaned
from preprocessing.corpus.cleaning import Dropped, Kept, keep
from preprocessing.corpus.decisions import read_boilerplate, read_drops
from preprocessing.documents import Monitor, WorkItem, read_item
from preprocessing.storage import Store


def every_text(_text: str) -> bool:
    """Accept every text."""
    return True


def _is_requested(document: Kept | Dropped, is_requested: Callable[[str], bool]) -> bool:
    return isinstance(document, Dropped) or is_requested(document.text)


def read_corpus(
    item: WorkItem,
    config: TextConfig,
    work: Store,
    monitor: Monitor,
    is_requested: Callable[[str], bool] = every_text,
) -> Iterator[Kept | Dropped]:
    """Yield each document of the item, or the cause to drop it. Skips documents whose text is not requested.

    If the recipe compares documents, all items must be cleaned and compared before this call. Otherwise this function
    reads the input, or the cleaned text of a part.
    """
    if not config.compares_documents and item.is_part:
        yield from (kept for kept in read_cleaned(item, config, work, monitor) if _is_requested(kept, is_requested))
        return
    if not config.compares_documents:
        for document in read_item(item, config, monitor):
            if is_requested(document.text):  # the raw text: skipped documents need no cleaning
                yield keep(document, config)
        return
    drops, boilerplate = read_drops(item, work), read_boilerplate(work)
    for number, kept in enumerate(read_cleaned(item, config, work, monitor)):
        if isinstance(kept, Dropped):
            yield kept
        elif number in drops:
            yield Dropped(drops[number], kept.span, kept.read_bytes)
        elif is_requested(kept.text):
            yield without_boilerplate(kept, boilerplate, config) if len(boilerplate) else kept
