"""A watchdog that ends a rank that hangs and reports where it hangs, even while the interpreter lock is held.

faulthandler's timer is a thread of C code. If `beat` is not called within the limit, it writes the stacks of all Python
threads to standard error and ends the process with code 1. This works even if a busy loop holds the interpreter lock,
or if a collective waits for a rank that never joins. On SIGUSR2, a rank writes its stacks and continues.

A stopped process (SIGSTOP) cannot end itself; its supervisor detects that (launch/ranks/supervisor.py).
"""

from __future__ import annotations

import faulthandler
import math
import time

from configs.exit_codes import STACKS_SIGNAL

REARM_SHARE = 0.05  # of the limit: arming starts a thread, which is too expensive for each micro-step

_limit_s = math.inf
_armed_at = -math.inf
_armed_for_s = math.inf


def show_stacks_when_asked() -> None:
    """Write the stacks of all threads to standard error on SIGUSR2 and on any crash, from now on."""
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)


def watch(limit_s: float) -> None:
    """Start the watchdog: from now on, consecutive beats must be at most `limit_s` seconds apart."""
    global _limit_s, _armed_at
    _limit_s, _armed_at = limit_s, -math.inf
    beat()


def beat(limit_s: float = math.inf) -> None:
    """Report progress of this process. Has no effect unless the watchdog is running.

    The next beat must come within `limit_s` seconds, e.g. of a training step, or within the watchdog's limit if that is
    shorter.
    """
    global _armed_at, _armed_for_s
    if _limit_s == math.inf:
        return
    now, limit_s = time.monotonic(), min(limit_s, _limit_s)
    if limit_s != _armed_for_s or now - _armed_at > REARM_SHARE * limit_s:
        faulthandler.dump_traceback_later(limit_s, exit=True)
        _armed_at, _armed_for_s = now, limit_s
