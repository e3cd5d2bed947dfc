"""The lock that keeps a second preparation out of a folder.

Object stores and some shared file systems have no locks. There, two preparations of the same recipe write the same
bytes and lose only time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from configs.errors import UserError
from configs.machine import EXCLUSIVE, SHARED, lock
from preprocessing.resuming.parts import WORK
from preprocessing.resuming.share import WHOLE, Share
from preprocessing.storage import LocalStore

LOCK = "lock"


def run_name(share: Share) -> str:
    """Return the name of the folder through which the workers of one run communicate with the driver."""
    return f"{WORK}/share-{share.number}-of-{share.count}"


@contextmanager
def locked(store: LocalStore, share: Share) -> Iterator[None]:
    """Lock other preparations out of the folder inside the block. A share admits other shares."""
    run = store.folder / run_name(share)
    run.mkdir(parents=True, exist_ok=True)
    with (store.folder / WORK / LOCK).open("a+") as file, (run / LOCK).open("a+") as own:
        try:
            lock(file, EXCLUSIVE if share == WHOLE else SHARED)
            lock(own)
        except BlockingIOError as error:
            fix = "wait until it ends, or choose another data.dataset"
            raise UserError("another preparation is running here", place=store.place, fix=fix) from error
        yield
