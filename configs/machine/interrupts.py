"""How a command ends: at Ctrl-C or SIGTERM, also while it imports its modules, and at once after its work."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

_STOPS = (signal.SIGINT, signal.SIGTERM)
_END_S = 5.0  # in which a stopped command says what is kept and ends
_REMINDER_S = 0.2  # between two attempts to interrupt it


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


@contextmanager
def interrupting(received: list[signal.Signals]) -> Iterator[None]:
    """Inside the block, record SIGINT and SIGTERM, and raise `KeyboardInterrupt`.

    Python drops an exception that is raised in a destructor or in a callback of a weak reference. So a timer raises it
    again until it takes effect, and who waits looks at `received` too. While the block ends, a further signal is
    ignored. If the end hangs, for example at a lock that an interrupted thread did not release, it is interrupted too.
    """
    end_s = math.inf

    def interrupt(number: int, _frame: object) -> None:
        nonlocal end_s
        if number != signal.SIGALRM:
            received.append(signal.Signals(number))
        if end_s == math.inf:
            end_s = time.monotonic() + _END_S
            signal.setitimer(signal.ITIMER_REAL, _REMINDER_S, _REMINDER_S)
        hangs = time.monotonic() > end_s
        if hangs:
            end_s = time.monotonic() + _END_S
        if hangs or not _is_ending(sys.exc_info()[1]):
            raise KeyboardInterrupt

    def report_dropped(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            report(dropped)

    handlers = {number: signal.signal(number, interrupt) for number in (*_STOPS, signal.SIGALRM)}
    report, sys.unraisablehook = sys.unraisablehook, report_dropped
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = report
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_ending(handled: BaseException | None) -> bool:
    """Return whether a `KeyboardInterrupt` is being handled, given the exception that is."""
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None


def end_at_once(code: int) -> NoReturn:
    """End this process without waiting for its threads: one that reads a file can hang with the file system.

    It also skips the destruction of all modules, which takes seconds on a busy machine once Beam or torch is imported.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader has ended, the disk is full, or it is closed
            stream.flush()
    os._exit(code)
