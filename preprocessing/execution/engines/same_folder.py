"""Whether a worker sees the driver's folder, or another one under the same name, such as that of its own disk."""

from __future__ import annotations

import re
import socket
import time
import uuid

from configs.errors import UserError
from preprocessing.storage import Store

_NAME = "folder"
_PATIENCE_S = 10.0  # network file systems show a new file to other machines after some seconds


def folder_mark(run: Store) -> str:
    """Return the mark of a run's folder, made at the first call: later stages and reruns have the same.

    A damaged mark is replaced.
    """
    content = run.read(_NAME)
    if content is None or not re.fullmatch(rb"[0-9a-f]{32}", content):
        run.note(_NAME, uuid.uuid4().hex)
        content = run.read(_NAME) or b""
    return content.decode()


def require_mark(run: Store, mark: str) -> None:
    """Raise `UserError` unless the folder has the mark: the worker's results would never reach the driver."""
    end_s = time.monotonic() + _PATIENCE_S
    while run.read(_NAME) != mark.encode():
        if time.monotonic() > end_s:
            cause = f"a worker on {socket.gethostname()} sees another folder under this name than the driver"
            fix = "put the data set on a file system that all nodes mount under the same name, or at a URL"
            raise UserError(cause, place=run.place, fix=fix)
        time.sleep(0.5)
