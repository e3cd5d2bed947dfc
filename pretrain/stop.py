"""A request to stop, from Ctrl-C, a scheduler or a supervisor: the next step sees it and saves a checkpoint."""

from __future__ import annotations

import signal
from types import FrameType

from configs.exit_codes import STOP_SIGNALS


class StopRequest:
    """Turns the stop signals into a flag, as soon as it exists."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
