"""Stop requests from Ctrl-C, a scheduler or a supervisor: training saves a checkpoint after the current step."""

from __future__ import annotations

import signal
from types import FrameType

from configs.exit_codes import STOP_SIGNALS


class StopRequest:
    """A flag that the stop signals set, from its creation on."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
