"""What the comparison of all documents decided: the documents of a work item and the lines to drop."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from numpy.typing import NDArray

from configs.errors import UserError
from configs.schema import CleaningConfig
from preprocessing.comparison import (
    CAUSES,
    Comparison,
    Hashes,
    Source,
    forget_drops,
    lay_out,
    read_array,
    read_found_lines,
    write_array,
)
from preprocessing.corpus.cleaned_files import read_entry
from preprocessing.corpus.working_files import BOILERPLATE, drops_name, fingerprints_name
from preprocessing.documents import Plan, WorkItem
from preprocessing.storage import Store

logger = logging.getLogger(__name__)


def begin_comparison(plan: Plan, config: CleaningConfig, work: Store) -> Comparison:
    """Divide the comparison of a corpus whose items are all cleaned."""
    return Comparison(config, work, lay_out([_source(item, work) for item in plan.items], work))


def end_comparison(comparison: Comparison) -> None:
    """Write the lines to remove, which marks the comparison as complete, after all of its steps are made."""
    write_array(comparison.work, BOILERPLATE, read_found_lines(comparison))


def is_decided(work: Store) -> bool:
    """Return whether the comparison of all documents is complete."""
    return work.size(BOILERPLATE) is not None


def check_decisions(plan: Plan, config: CleaningConfig, work: Store) -> None:
    """Remove the decisions if a file of them is damaged or missing, so that they are made again from what is left."""
    names = [BOILERPLATE, *(drops_name(item) for item in plan.items)]
    broken = next((name for name in names if read_array(work, name) is None), None)
    if broken is None:
        return
    logger.warning("%s: %s is damaged; the decisions about duplicates are made again", work.place, broken)
    forget_drops(begin_comparison(plan, config, work))
    work.remove(BOILERPLATE)


def read_drops(item: WorkItem, work: Store) -> dict[int, str]:
    """Return the dropped documents of the item: their numbers in it, and the causes."""
    return {number: CAUSES[cause] for number, cause in _read_array(drops_name(item), work).tolist()}


def read_boilerplate(work: Store) -> Hashes:
    """Return the hashes of the lines to remove, sorted."""
    return _read_array(BOILERPLATE, work)


def decisions_digest(item: WorkItem, boilerplate: Hashes, work: Store) -> str:
    """Return a digest of everything that the comparison of all documents changes in the item's text."""
    content = work.read(drops_name(item))
    assert content is not None, "all items are compared"
    return hashlib.sha256(content + boilerplate.tobytes()).hexdigest()


def _source(item: WorkItem, work: Store) -> Source:
    entry = read_entry(item, work)
    return Source(fingerprints_name(item), drops_name(item), entry.compared, entry.lines)


def _read_array(name: str, work: Store) -> NDArray[Any]:
    array = read_array(work, name)
    if array is None:
        raise UserError(f"{name} is damaged", place=work.place, fix="run the same command again: it is made again")
    return array
