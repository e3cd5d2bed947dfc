"""Advisory file locks, which some shared file systems do not have.

A lock gives a better message to the second command in a folder. Nothing depends on it: Lustre without `-o flock` and
NFS without a lock daemon refuse `flock`, and a lock on one node can be invisible on another.
"""

from __future__ import annotations

import errno
import fcntl
import logging
from typing import IO

EXCLUSIVE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH
REFUSALS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

log = logging.getLogger(__name__)


def lock(file: IO[str] | IO[bytes], kind: int = EXCLUSIVE, *, wait: bool = False) -> bool:
    """Lock the file until it is closed. Return False if its file system has no locks.

    Raises `BlockingIOError` if another process holds the lock, unless `wait` is set.
    """
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        log.info("cannot lock %s: %s", file.name, error)
        return False
    return True
