"""A work item's documents as the data set takes them: cleaned, and of the whole corpus each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from configs.schema import TextConfig
from preprocessing.corpus.boilerplate import without_boilerplate
from preprocessing.corpus.cleaned_files import read_cleaned
from preprocessing.corpus.cleaning import Kept, keep
from preprocessing.corpus.duplicates import read_boilerplate, read_drops
from preprocessing.documents import Monitor, WorkItem, read_item
from preprocessing.storage import Store


def every_text(_text: str) -> bool:
    """No document is passed over."""
    return True


def read_corpus(
    item: WorkItem,
    config: TextConfig,
    work: Store,
    monitor: Monitor,
    is_wanted: Callable[[str], bool] = every_text,
) -> Iterator[Kept | str]:
    """Each document of the item, or why it is dropped. Those whose text is not wanted are passed over.

    Where the recipe compares documents, all items are cleaned and compared by now; else the input is read here.
    """
    if not config.compares_documents:
        for document in read_item(item, config, monitor):
            if is_wanted(document.text):  # of the raw text: what is passed over need not be cleaned
                yield keep(document, config)
        return
    drops, boilerplate = read_drops(item, work), read_boilerplate(work)
    for number, kept in enumerate(read_cleaned(item, config, work, monitor)):
        if isinstance(kept, str) or number in drops:
            yield drops.get(number, kept)
        elif is_wanted(kept.text):
            yield without_boilerplate(kept, boilerplate, config) if len(boilerplate) else kept
