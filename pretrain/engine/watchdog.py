"""A watchdog that no lock of the interpreter holds up: a rank that hangs ends, and says where it hung.

faulthandler's timer is a thread of C code. When nobody has called `beat` for the limit, it writes the stacks of all
Python threads to standard error and ends the process with code 1: also while the interpreter's lock is held by code
that spins, or a collective waits for a rank that will not come. SIGUSR2 has a rank write its stacks and go on.

A process that is stopped (SIGSTOP) cannot end itself; whoever started it sees that (launch/ranks/supervisor.py).
"""

from __future__ import annotations

import faulthandler
import math
import time

from configs.exit_codes import STACKS_SIGNAL

REARM_SHARE = 0.05  # of the limit: arming starts a thread, too dear for each micro-step

_limit_s = math.inf
_armed_at = -math.inf


def show_stacks_when_asked() -> None:
    """From now on SIGUSR2, and any crash, writes the stacks of all threads to standard error."""
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)


def watch(limit_s: float) -> None:
    """From now on two beats may lie at most `limit_s` seconds apart."""
    global _limit_s, _armed_at
    _limit_s, _armed_at = limit_s, -math.inf
    beat()


def beat() -> None:
    """This process makes headway. Without effect unless it is watched."""
    global _armed_at
    now = time.monotonic()
    if _limit_s < math.inf and now - _armed_at > REARM_SHARE * _limit_s:
        faulthandler.dump_traceback_later(_limit_s, exit=True)
        _armed_at = now
