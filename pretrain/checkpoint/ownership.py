"""Who owns a run: the start with the newest number. Imports no torch.

    RUN/starts/0001/    one folder per start, whichever launcher made it

Each start takes the next number by creating its folder, which succeeds in one process only, on every file system. A
start whose number is no longer the newest commits nothing: no checkpoint, no record, no deletion. A cluster can start a
run again while it cannot reach a node on which the earlier start still runs, so a lock cannot decide this.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from configs.files import explain_write_errors
from configs.run_layout import STARTS, start_folder


class Superseded(Exception):  # noqa: N818 (not an error of this run, whose newer start continues)
    """This start does not own the run any more, and ends. `number` is that of the newer start that does.

    It is 0 if the start's own folder was removed: another start can have taken its number since.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        if not self.number:
            return f"the folder of this start in {STARTS}/ was removed; start the run again, which resumes it"
        return f"superseded by start {self.number}, which continues this run"


class Ownership:
    """Whether this start still owns its run. Number 0 stands for a process that commits nothing, e.g. an evaluation."""

    def __init__(self, run: Path, number: int) -> None:
        self.run = run
        self.number = number

    def superseded_by(self) -> int:
        """Return the newest start's number if it is not this one's, else 0. Costs one query of the file system."""
        if self.number and start_folder(self.run, self.number + 1).exists():
            return newest_start(self.run)
        return 0

    def check(self) -> None:
        """Raise `Superseded` unless this start owns the run. Also sees a folder made on another node just now."""
        with suppress(OSError):  # a change makes the client of a network file system read the folder again
            os.utime(self.run / STARTS)
        if self.number and (newest := newest_start(self.run)) != self.number:
            raise Superseded(newest if newest > self.number else 0)


def newest_start(run: Path) -> int:
    """Return the newest start's number; 0 if the run was never started."""
    try:
        names = os.listdir(run / STARTS)
    except FileNotFoundError:
        return 0
    return max((int(name) for name in names if name.isdecimal()), default=0)


def claim_start(run: Path) -> int:
    """Take the next number for a new start, which then owns the run."""
    with explain_write_errors(run):
        (run / STARTS).mkdir(parents=True, exist_ok=True)
        number = newest_start(run) + 1
        while True:
            try:
                start_folder(run, number).mkdir()
            except FileExistsError:
                number += 1
            else:
                return number
