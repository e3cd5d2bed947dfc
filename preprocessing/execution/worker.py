"""A worker process: Beam's, but it leaves the terminal's Ctrl-C to the driver and never outlives it."""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from preprocessing.execution.beam_api import sdk_worker_main

_LOOK_EVERY_S = 0.5


def _follow(driver: int) -> None:
    """End this process when the driver is gone, however it went."""
    while os.getppid() == driver:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The driver says who it is: by now it may be gone, and this process another one's child.
    threading.Thread(target=_follow, args=(int(sys.argv[1]),), daemon=True).start()
    sdk_worker_main.main(sys.argv)
