"""The data set's folder during preparation: which preparation it belongs to, and the files in it.

DATASET/.prepare/     until the data set is finished: job.json, the lock, cleaned text, the sample for the vocabulary,
                      and a folder per share with the share's lock, progress and errors
DATASET/groups/       a side file per finished group; a rerun skips the group
DATASET/shards/  vocab.txt (or tokenizer.json)  manifest.json   the data set; the manifest is written last

Cleaned text is named after, and groups record, the content that they were made from. So work on other content is never
used. What depends on the whole corpus (the decisions about duplicates, the sample) belongs to the preparation that
job.json describes, and is removed when the next preparation differs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import PurePosixPath

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX
from configs.machine import lock
from preprocessing.corpus import is_cleaned_file, is_corpus_wide
from preprocessing.dataset import CARD, MANIFEST, PICTURES, SHARDS, TOKENIZER, VOCABULARY, InputEntry
from preprocessing.documents import WorkItem
from preprocessing.resuming.identity import Identity, input_differences, other_data_set, other_version
from preprocessing.resuming.lock import LOCK, locked, run_name
from preprocessing.resuming.parts import GROUPS, VOCABULARY_RECORD, WORK, finished_groups_exist, finished_parts
from preprocessing.resuming.share import WHOLE, Share
from preprocessing.resuming.work_records import read_record, write_record
from preprocessing.storage import LocalStore, Store

_JOB = f"{WORK}/job.json"
_REFUSED = f"{WORK}/refused"  # the groups are finished, but too much of the input is lost in them

logger = logging.getLogger(__name__)


def run_folder(store: Store, share: Share) -> Store:
    """Return the folder through which the workers of one run report progress and errors to the driver."""
    return store.below(run_name(share))


@contextmanager
def claimed(store: Store, identity: Identity, share: Share = WHOLE, *, overwrite: bool = False) -> Iterator[None]:
    """Reserve the folder for a data set of this recipe inside the block. Only its other shares can use it then.

    Raises `UserError` if the folder holds groups of another recipe, or an unfinished data set of another format
    version, or is not writable. A preparation that ends in a `UserError` before any part is finished removes its files;
    otherwise finished parts stay for a rerun. A share never removes anything, since other shares can be running.
    """
    with store.explained(), locked(store, share) if isinstance(store, LocalStore) else nullcontext():
        if overwrite:
            _remove_contents(store)
        _refuse_other_recipe(store, identity, share)
        with _cleaned_up(store) if share == WHOLE else nullcontext(), store.explained():
            if isinstance(store, LocalStore):
                for name in (GROUPS, SHARDS):
                    store.below(name).folder.mkdir(exist_ok=True)
            yield


def begin(store: Store, identity: Identity, inputs: Sequence[InputEntry], share: Share = WHOLE) -> None:
    """Record in a claimed folder what is prepared there, now that the content of the input is known.

    If an earlier preparation differs, what it decided about the whole corpus is removed, and the difference is said.
    Raises `UserError` if a share differs, since the other shares can be running.
    """
    job = read_record(store, _JOB)
    if job is None:
        _forget_damaged_job(store, share)
    elif job and job["digest"] != identity.digest:
        earlier = [InputEntry.model_validate(entry) for entry in job["inputs"]]
        differing = [*identity.differences(job["recipe"]), *input_differences(earlier, inputs)] or ["the vocabulary"]
        if share != WHOLE:
            raise other_data_set(store.place, job["digest"], differing)
        logger.warning(
            "%s: the preparation that began here differs: %s; finished work on text that has not changed is reused, "
            "and the rest is made again",
            store.place,
            ", ".join(differing),
        )
        _remove_corpus_wide(store)
    store.remove(_REFUSED)
    described = {"digest": identity.digest, "recipe": identity.recipe, "format_version": identity.format_version}
    write_record(store, _JOB, {**described, "inputs": [entry.model_dump() for entry in inputs]})


@contextmanager
def kept_if_refused(store: Store) -> Iterator[None]:
    """Note a `UserError` of the block about the finished groups.

    A rerun that accepts the losses uses them. One with another recipe replaces them, though they are finished.
    """
    try:
        yield
    except UserError:
        store.write_text(_REFUSED, "")
        raise


def release(store: Store, kept: Sequence[WorkItem] = ()) -> None:
    """Remove the files that only an unfinished data set needs, except the cleaned text of the work items in `kept`.

    While other shares run, the last one removes them.
    """
    work = store.below(WORK)
    if not isinstance(work, LocalStore):
        _clear(work, kept)
        return
    with suppress(FileNotFoundError, BlockingIOError), (work.folder / LOCK).open("a+") as file:
        if lock(file):
            _sweep(store)
        _clear(work, kept)


def prune(store: Store, groups: Collection[str]) -> None:
    """Remove the shards and side files of all groups but these, which are those of the finished data set."""
    for folder in (SHARDS, GROUPS):
        for name in store.below(folder).names():
            group = re.match(r"[0-9]{5,}\.[0-9]{4,}(?=[-.])", name)
            if group and group[0] not in groups:
                store.below(folder).remove(name)


def discard(store: Store) -> None:
    """Remove all files that preparations made, and the folder if it is then empty. A second call does nothing.

    A finished data set stays, which is there while files are added to it.
    """
    if store.below(WORK).is_empty() or store.size(MANIFEST) is not None:
        return
    _remove_contents(store)
    store.below(WORK).clear()
    if isinstance(store, LocalStore) and store.is_empty():
        store.folder.rmdir()


@contextmanager
def _cleaned_up(store: Store) -> Iterator[None]:
    """Remove partial files after the block, and all files if a `UserError` ends it before any part is finished."""
    try:
        yield
    except UserError:
        if not finished_parts(store):
            discard(store)
        raise
    finally:
        _sweep(store)


def _clear(work: Store, kept: Sequence[WorkItem]) -> None:
    names = {name for item in kept for name in (item.work_name, item.whole)}
    found = {name for name in work.names() if is_cleaned_file(name, names)} if names else set()
    if not found:
        work.clear()
        return
    for name in set(work.names()) - found:
        work.remove(name)


def _sweep(store: Store) -> None:
    """Remove the partial files that stopped workers left."""
    for name in store.names():
        if name.endswith(TEMPORARY_SUFFIX) and name.rpartition("/")[2].startswith("."):
            store.remove(name)


def _refuse_other_recipe(store: Store, identity: Identity, share: Share) -> None:
    """Raise `UserError` for finished groups, or a running share, of another recipe or format version."""
    job = read_record(store, _JOB)
    if not job:  # none, or damaged, of which `begin` takes care
        return
    version = job.get("format_version", 1)  # version 1 did not record it
    if version != identity.format_version:
        raise other_version(store.place, "an unfinished", version)
    differing = identity.differences(job["recipe"])
    if differing and share == WHOLE and store.size(_REFUSED) is not None:
        _remove_contents(store)
    elif differing and (share != WHOLE or finished_groups_exist(store)):
        raise other_data_set(store.place, job["digest"], differing)


def _forget_damaged_job(store: Store, share: Share) -> None:
    """Remove what depends on the whole corpus, since nothing says of which corpus. Other parts name their content."""
    cause = f"{_JOB} is damaged, which says what is prepared here"
    if share != WHOLE:
        fix = "stop all shares, and run the preparation once without a share"
        raise UserError(cause, place=store.place, fix=fix)
    logger.warning("%s: %s; what depends on the whole corpus is made again", store.place, cause)
    _remove_corpus_wide(store)


def _remove_corpus_wide(store: Store) -> None:
    store.remove(VOCABULARY_RECORD)
    work = store.below(WORK)
    for name in work.names():
        if is_corpus_wide(name):
            work.remove(name)


def _remove_contents(store: Store) -> None:
    """Remove everything except the locks, the manifest first."""
    for name in (MANIFEST, VOCABULARY, TOKENIZER, CARD):
        store.remove(name)
    for part in (GROUPS, SHARDS, PICTURES):
        store.below(part).clear()
    work = store.below(WORK)
    for name in work.names():
        if PurePosixPath(name).name != LOCK:
            work.remove(name)
