"""The lock that keeps a second preparation out of a folder.

Object stores and some shared file systems have no locks. There, two preparations of the same recipe write the same
bytes and lose only time.
"""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from configs.errors import UserError
from preprocessing.resuming.parts import WORK
from preprocessing.resuming.share import WHOLE, Share
from preprocessing.storage import LocalStore

LOCK = "lock"

logger = logging.getLogger(__name__)


def run_name(share: Share) -> str:
    """Return the name of the folder through which the workers of one run communicate with the driver."""
    return f"{WORK}/share-{share.number}-of-{share.count}"


@contextmanager
def locked(store: LocalStore, share: Share) -> Iterator[None]:
    """Lock other preparations out of the folder inside the block. A share admits other shares."""
    run = store.folder / run_name(share)
    run.mkdir(parents=True, exist_ok=True)
    with (store.folder / WORK / LOCK).open("a+") as lock, (run / LOCK).open("a+") as own:
        try:
            lock_file(lock, fcntl.LOCK_EX if share == WHOLE else fcntl.LOCK_SH)
            lock_file(own, fcntl.LOCK_EX)
        except BlockingIOError as error:
            fix = "wait until it ends, or choose another data.dataset"
            raise UserError("another preparation is running here", place=store.place, fix=fix) from error
        yield


def lock_file(file: IO[str], kind: int) -> bool:
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
