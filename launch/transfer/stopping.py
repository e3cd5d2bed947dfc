"""How a stopped fine-tuning ends: results that are finished stay, and the same command resumes after them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.exit_codes import STOPPED, ended_by
from configs.machine import interrupting
from launch.transfer.seeds import results_in


@contextmanager
def ending_resumably(output: Path) -> Iterator[None]:
    """Inside the block, handle SIGTERM like Ctrl-C: say what is kept in `output`, and exit.

    The exit code is 75 if the block finished a trial, otherwise that of the signal.
    """
    before, received = results_in(output), list[signal.Signals]()
    try:
        with interrupting(received):
            yield
    except KeyboardInterrupt:
        number, kept = received[0] if received else signal.SIGINT, results_in(output)
        new = len(kept) - len(before)
        how = f"{len(kept)} finished trials are kept ({new} of this start)" if kept else "no trial was finished yet"
        sys.stderr.write(f"stopped by {number.name}\n{how}; run the same command again to resume\n")
        sys.exit(STOPPED if new else ended_by(number))
