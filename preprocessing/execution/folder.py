"""The data set's folder during preparation: which preparation it belongs to, and the files in it.

DATASET/.prepare/     until the data set is finished: job.json, the lock, the sample for the vocabulary, and a folder
                      per share with the share's lock, progress and errors
DATASET/groups/       a side file per finished group; a rerun skips the group
DATASET/shards/  vocab.txt  manifest.json         the data set; the manifest is written last

A lock keeps out a second preparation. Object stores and some shared file systems have no locks. There, two preparations
of the same recipe write the same bytes and lose only time.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import PurePosixPath
from typing import IO

from configs.errors import UserError
from configs.files import TEMPORARY_SUFFIX
from preprocessing.dataset import CARD, MANIFEST, PICTURES, SHARDS, VOCABULARY
from preprocessing.execution.group import GROUPS
from preprocessing.execution.identity import Identity, other_data_set, other_version
from preprocessing.execution.share import WHOLE, Share
from preprocessing.storage import LocalStore, Store

WORK = ".prepare"
_JOB = "job.json"
_LOCK = "lock"

logger = logging.getLogger(__name__)


def run_folder(store: Store, share: Share) -> Store:
    """Return the folder through which the workers of one run report progress and errors to the driver."""
    return store.below(_run_name(share))


def _run_name(share: Share) -> str:
    return f"{WORK}/share-{share.number}-of-{share.count}"


@contextmanager
def claimed(store: Store, identity: Identity, share: Share = WHOLE, *, overwrite: bool = False) -> Iterator[None]:
    """Reserve the folder for a data set of this identity inside the block. Only its other shares can use it then.

    Raises `UserError` if the folder holds an unfinished data set of another identity or format version, or is not
    writable. A preparation that ends in a `UserError` before any group is finished removes its files; otherwise
    finished work stays for a rerun. A share never removes anything, since other shares can be running.
    """
    with store.explained(), _locked(store, share) if isinstance(store, LocalStore) else nullcontext():
        if overwrite:
            _remove_contents(store)
        _refuse_other(store, identity)
        with _cleaned_up(store) if share == WHOLE else nullcontext(), store.explained():
            if isinstance(store, LocalStore):
                for name in (GROUPS, SHARDS):
                    store.below(name).folder.mkdir(exist_ok=True)
            job = {"digest": identity.digest, "recipe": identity.recipe, "format_version": identity.format_version}
            store.write_text(f"{WORK}/{_JOB}", json.dumps(job))
            yield


def release(store: Store) -> None:
    """Remove the files that only an unfinished data set needs. While other shares run, the last one removes them."""
    work = store.below(WORK)
    if not isinstance(work, LocalStore):
        work.clear()
        return
    with suppress(FileNotFoundError, BlockingIOError), (work.folder / _LOCK).open("a+") as lock:
        if _lock(lock, fcntl.LOCK_EX):
            _sweep(store)
        work.clear()


def finished_parts(store: Store) -> int:
    """Return the number of parts that a rerun skips: sampled work items and finished groups."""
    sampled = sum(PurePosixPath(name).match("sample-*.json") for name in store.below(WORK).names())
    return sampled + _finished_groups(store)


def discard(store: Store) -> None:
    """Remove all files that preparations made, and the folder if it is then empty. A second call does nothing."""
    if store.below(WORK).is_empty():
        return
    _remove_contents(store)
    store.below(WORK).clear()
    if isinstance(store, LocalStore) and store.is_empty():
        store.folder.rmdir()


def _finished_groups(store: Store) -> int:
    return sum(PurePosixPath(name).match("*.*.json") for name in store.below(GROUPS).names())


@contextmanager
def _locked(store: LocalStore, share: Share) -> Iterator[None]:
    """Lock other preparations out of the folder inside the block. A share admits other shares."""
    run = store.folder / _run_name(share)
    run.mkdir(parents=True, exist_ok=True)
    with (store.folder / WORK / _LOCK).open("a+") as lock, (run / _LOCK).open("a+") as own:
        try:
            _lock(lock, fcntl.LOCK_EX if share == WHOLE else fcntl.LOCK_SH)
            _lock(own, fcntl.LOCK_EX)
        except BlockingIOError as error:
            fix = "wait until it ends, or choose another data.dataset"
            raise UserError("another preparation is running here", place=store.place, fix=fix) from error
        yield


def _lock(file: IO[str], kind: int) -> bool:
    """Lock the file until it is closed. Return False if the file system has no locks.

    Raises `BlockingIOError` if another process holds the lock.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        logger.info("cannot lock %s: %s", file.name, error)
        return False
    return True


@contextmanager
def _cleaned_up(store: Store) -> Iterator[None]:
    """Remove partial files after the block, and all files if a `UserError` ends it before any group is finished."""
    try:
        yield
    except UserError:
        if not _finished_groups(store):
            discard(store)
        raise
    finally:
        _sweep(store)


def _sweep(store: Store) -> None:
    """Remove the partial files that stopped workers left."""
    for name in store.names():
        if PurePosixPath(name).match(f".*{TEMPORARY_SUFFIX}"):
            store.remove(name)


def _refuse_other(store: Store, identity: Identity) -> None:
    content = store.read(f"{WORK}/{_JOB}")
    if content is not None:
        other = json.loads(content)
        version = other.get("format_version", 1)  # version 1 did not record it
        if version != identity.format_version:
            raise other_version(store.place, "an unfinished", version)
        if other["digest"] != identity.digest:
            differing = identity.differences(other["recipe"]) or ["the input files or the vocabulary"]
            raise other_data_set(store.place, other["digest"], identity.digest, differing)


def _remove_contents(store: Store) -> None:
    """Remove everything except the locks, the manifest first."""
    for name in (MANIFEST, VOCABULARY, CARD):
        store.remove(name)
    for part in (GROUPS, SHARDS, PICTURES):
        store.below(part).clear()
    work = store.below(WORK)
    for name in work.names():
        if PurePosixPath(name).name != _LOCK:
            work.remove(name)
