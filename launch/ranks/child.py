"""End a process when its parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def dies_with(parent: int) -> Callable[[], None]:
    """Return a `preexec_fn` for Popen: the kernel kills the child when `parent` dies, or at once if it has died."""

    def ask_the_kernel() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask_the_kernel


def terminate_with_parent() -> None:
    """Make the kernel send SIGTERM to this process, and to the program it executes next, when its parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
