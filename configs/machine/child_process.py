"""End a child process when its parent ends, whatever ends the parent."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def dies_with(parent: int) -> Callable[[], None]:
    """Return a `preexec_fn` for Popen: the kernel kills the child when `parent` dies, or at once if it has died.

    The thread that starts the child must live as long as the child, because the kernel watches the thread.
    """
    return lambda: die_with(parent)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; end it now if `parent` is not its parent any more."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def terminate_with_parent() -> None:
    """Make the kernel send SIGTERM to this process, and to the program it executes next, when its parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
