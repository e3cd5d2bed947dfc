"""Stand-ins for programs that no test machine has: a Java job server of Flink and Spark, and Prism.

Each starts Beam's own job service in Python at the port that the runner gives to the real program. So the runner's
class, its options, and the start, progress, cancellation and end of its job server are real; the engine is not.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

PATIENCE_S = 120  # of whoever waits for something that takes seconds

_PROGRAM = """#!{python}
import os, pathlib, re, sys
from apache_beam.runners.portability import local_job_service, local_job_service_main
record = pathlib.Path({record!r})
cancel = local_job_service.BeamJob.cancel
def recorded(job):
    (record / "cancelled").write_text(job._job_id)
    cancel(job)
local_job_service.BeamJob.cancel = recorded
with (record / "started").open("a") as file:
    print(os.getpid(), *sys.argv, file=file)
words = sys.argv[1:]
local_job_service_main.run(["--port", words[max(words.index(word) for word in words if word in {flags!r}) + 1]])
"""


class StandIn:
    """A program that stands in for a job server, and the record of its starts."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / "bin" / name
        self._record = folder / "record"
        self._record.mkdir(parents=True)
        self.path.parent.mkdir()
        flags = ("--job-port", "--job_port")  # Java's, Prism's
        self.path.write_text(_PROGRAM.format(python=sys.executable, record=str(self._record), flags=flags))
        self.path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of this process with the program first on PATH."""
        return {**os.environ, "PATH": os.pathsep.join((str(self.path.parent), os.environ["PATH"]))}

    @property
    def starts(self) -> list[list[str]]:
        """The words of each start: process ID, program, arguments."""
        file = self._record / "started"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def has_cancelled(self) -> bool:
        """Whether a job was cancelled through it."""
        return (self._record / "cancelled").exists()

    def alive(self) -> list[int]:
        """The processes of its starts that have not ended within the patience."""
        processes = []
        for pid, *_ in self.starts:
            with suppress(psutil.NoSuchProcess):
                processes.append(psutil.Process(int(pid)))
        return [process.pid for process in psutil.wait_procs(processes, timeout=PATIENCE_S)[1]]


def wait_until(holds: object, what: str) -> None:
    """Call `holds` until it is true."""
    assert callable(holds)
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)
