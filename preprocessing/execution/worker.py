"""A Beam worker process that leaves Ctrl-C to the driver and ends with it."""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from preprocessing.execution.beam_api import sdk_worker_main

_POLL_INTERVAL_S = 0.5


def _follow(driver: int) -> None:
    """Kill this process once the driver has ended, for whatever reason."""
    while os.getppid() == driver:
        time.sleep(_POLL_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The driver passes its own process ID, because it can have ended by now, and this process have another parent.
    threading.Thread(target=_follow, args=(int(sys.argv[1]),), daemon=True).start()
    sdk_worker_main.main(sys.argv)
