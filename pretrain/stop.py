"""Stop requests: training saves a checkpoint after the current step.

They come as signals (Ctrl-C, a scheduler, a supervisor), or as the file `RUN/stop`, which `bertrain stop` writes and
rank 0 reads at each step. The file names a start or a job, so that an old request stops no later start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from configs.exit_codes import STOP_SIGNALS
from configs.files import read_bounded
from configs.run_layout import STOP

LONGEST_REQUEST = 255  # bytes


def asked_to_stop(run: Path) -> str:
    """Return the start or job that the request in the run folder names; empty if there is none, or it is damaged."""
    with suppress(OSError):
        return read_bounded(run / STOP, LONGEST_REQUEST).decode(errors="replace").strip()
    return ""


class StopRequest:
    """True once a stop signal has arrived, or a request in the run folder names this start."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked_by_file: Callable[[], bool] = lambda: False
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN or number != signal.SIGHUP:  # nohup sets SIG_IGN
                signal.signal(number, self._note)

    def read_file_of(self, run: Path, number: int) -> None:
        """Also read requests in the run folder that name this start or its Slurm job, from now on."""
        names = (f"start {number}", f"job {os.environ.get('SLURM_JOB_ID', '')}")

        self._asked_by_file = lambda: asked_to_stop(run) in names

    def __bool__(self) -> bool:
        return self.signal is not None or self._asked_by_file()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
