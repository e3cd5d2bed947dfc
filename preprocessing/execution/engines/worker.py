"""A Beam worker process that leaves Ctrl-C to the driver and ends with it."""

# mypy: allow-untyped-calls
# Beam is half typed.

from __future__ import annotations

import signal
import sys

from configs.machine import die_with

if __name__ == "__main__":
    # First of all, since importing Beam takes seconds. The driver passes its own process ID, because it can have ended
    # by now, and this process have another parent.
    die_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from preprocessing.execution.engines.beam_api import sdk_worker_main

    sdk_worker_main.main(sys.argv)
