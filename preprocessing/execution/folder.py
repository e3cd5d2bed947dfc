"""The data set's folder while it is made: which preparation it belongs to, and what a preparation leaves in it.

DATASET/.prepare/     until the data set is finished: job.json, the lock, the sample for the vocabulary, and for each
                      share a folder with its lock, progress, and errors
DATASET/groups/       a side file for each finished group, so that a rerun skips it
DATASET/shards/  vocab.txt  manifest.json         the data set; the manifest is written last

A lock keeps out a second preparation. Object stores and some shared file systems have no locks: there, two preparations
of the same recipe write the same bytes, and only time is lost.
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
from preprocessing.execution.identity import Identity, other_data_set
from preprocessing.execution.share import WHOLE, Share
from preprocessing.storage import LocalStore, Store

WORK = ".prepare"
_JOB = "job.json"
_LOCK = "lock"

logger = logging.getLogger(__name__)


def run_folder(store: Store, share: Share) -> Store:
    """The folder through which the workers of one run report progress and errors to the driver."""
    return store.below(_run_name(share))


def _run_name(share: Share) -> str:
    return f"{WORK}/share-{share.number}-of-{share.count}"


@contextmanager
def claimed(store: Store, identity: Identity, share: Share = WHOLE, *, overwrite: bool = False) -> Iterator[None]:
    """Hold the folder for a data set of this identity, for the block; only its other shares may use it meanwhile.

    Raises `UserError` when it holds an unfinished data set of another identity, or cannot be written. A preparation
    that ends in a `UserError` before any group is finished removes what it made; otherwise finished work stays for a
    rerun. A share never removes anything, since others may be at work.
    """
    with store.explained(), _locked(store, share) if isinstance(store, LocalStore) else nullcontext():
        if overwrite:
            _remove_contents(store)
        _refuse_other(store, identity)
        with _left_clean(store) if share == WHOLE else nullcontext(), store.explained():
            if isinstance(store, LocalStore):
                for name in (GROUPS, SHARDS):
                    store.below(name).folder.mkdir(exist_ok=True)
            store.write_text(f"{WORK}/{_JOB}", json.dumps({"digest": identity.digest, "recipe": identity.recipe}))
            yield


def release(store: Store) -> None:
    """Remove what only an unfinished data set needs; while other shares run, the last of them removes it."""
    work = store.below(WORK)
    if not isinstance(work, LocalStore):
        work.clear()
        return
    with suppress(FileNotFoundError, BlockingIOError), (work.folder / _LOCK).open("a+") as lock:
        if _lock(lock, fcntl.LOCK_EX):
            _sweep(store)
        work.clear()


def finished_parts(store: Store) -> int:
    """How many parts of an unfinished data set a rerun skips: work items that are sampled, and groups."""
    sampled = sum(PurePosixPath(name).match("sample-*.json") for name in store.below(WORK).names())
    return sampled + _finished_groups(store)


def discard(store: Store) -> None:
    """Remove all that preparations have made, and the folder if it is then empty. A second call does nothing."""
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
    """Keep other preparations out of the folder, for the block. A share lets other shares in."""
    run = store.folder / _run_name(share)
    run.mkdir(parents=True, exist_ok=True)
    with (store.folder / WORK / _LOCK).open("a+") as lock, (run / _LOCK).open("a+") as own:
        try:
            _lock(lock, fcntl.LOCK_EX if share == WHOLE else fcntl.LOCK_SH)
            _lock(own, fcntl.LOCK_EX)
        except BlockingIOError as error:
            fix = "wait until it is done, or choose another data.dataset"
            raise UserError("another preparation is at work here", place=store.place, fix=fix) from error
        yield


def _lock(file: IO[str], kind: int) -> bool:
    """Lock it until it is closed; False where there are no locks. Raises `BlockingIOError` where another has it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        logger.info("no lock on %s: %s", file.name, error)
        return False
    return True


@contextmanager
def _left_clean(store: Store) -> Iterator[None]:
    try:
        yield
    except UserError:
        if not _finished_groups(store):
            discard(store)
        raise
    finally:
        _sweep(store)


def _sweep(store: Store) -> None:
    """Remove the partial files of workers that were stopped."""
    for name in store.names():
        if PurePosixPath(name).match(f".*{TEMPORARY_SUFFIX}"):
            store.remove(name)


def _refuse_other(store: Store, identity: Identity) -> None:
    content = store.read(f"{WORK}/{_JOB}")
    if content is not None:
        other = json.loads(content)
        if other["digest"] != identity.digest:
            differing = identity.differences(other["recipe"]) or ["the input files or the vocabulary"]
            raise other_data_set(store.place, other["digest"], identity.digest, differing)


def _remove_contents(store: Store) -> None:
    """Remove the whole data set but the locks, the manifest first."""
    for name in (MANIFEST, VOCABULARY, CARD):
        store.remove(name)
    for part in (GROUPS, SHARDS, PICTURES):
        store.below(part).clear()
    work = store.below(WORK)
    for name in work.names():
        if PurePosixPath(name).name != _LOCK:
            work.remove(name)
