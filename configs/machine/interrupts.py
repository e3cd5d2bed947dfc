"""How a command ends: at Ctrl-C while it imports its modules, and at once after its work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn


@contextmanager
def ctrl_c_ends_silently() -> Iterator[None]:
    """Within the block, Ctrl-C ends this process at once without a traceback. An ignored SIGINT stays ignored."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_at_once(code: int) -> NoReturn:
    """End this process without waiting for its threads: one that reads a file can hang with the file system.

    It also skips the destruction of all modules, which takes seconds on a busy machine once Beam or torch is imported.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader has ended, the disk is full, or it is closed
            stream.flush()
    os._exit(code)
