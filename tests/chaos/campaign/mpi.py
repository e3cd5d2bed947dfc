"""Ranks under Open MPI, with a stand-in for the model."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from launch.ranks import newest_step, read_starts
from tests.chaos.campaign.family import Family, Strike, assert_one_history
from tests.distributed.test_mpi import make_run, start
from tests.processes import wait_until

STEPS, STEP_S, PATIENCE_S = 40, 0.05, 240


class Mpi(Family):
    """Each fault has a run of its own, which must end with all its steps."""

    missing = "" if shutil.which("mpirun") else "mpirun"

    @property
    def kinds(self) -> Mapping[str, Strike]:
        """The kinds of fault by name."""
        return {
            "a rank raises": lambda draw, folder: self._by_itself(draw, folder, "raise"),
            "a rank is killed": lambda draw, folder: self._by_itself(draw, folder, "kill"),
            "mpirun is killed": self._kill_mpirun,
            "the launcher is killed": self._kill_launcher,
            "two launchers": self._second_launcher,
            "a stop": self._stop,
        }

    def _by_itself(self, draw: random.Random, folder: Path, what: str) -> None:
        run = make_run(folder, STEPS, STEP_S)
        (run / "fault").write_text(f"{draw.randint(1, STEPS - 1)} {draw.randint(0, 1)} {what}")
        check(run, self._start(run))
        assert len(read_starts(run)) == 2

    def _kill_mpirun(self, draw: random.Random, folder: Path) -> None:
        run, process = self._running(draw, folder)
        (mpirun,) = [one for one in psutil.Process(process.pid).children() if one.name() == "mpirun"]
        mpirun.kill()
        check(run, process)

    def _kill_launcher(self, draw: random.Random, folder: Path) -> None:
        run, process = self._running(draw, folder)
        ranks = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        check(run, self._start(run))
        _, alive = psutil.wait_procs(ranks, timeout=60)
        assert alive == []

    def _second_launcher(self, draw: random.Random, folder: Path) -> None:
        run, first = self._running(draw, folder)
        check(run, self._start(run))
        assert first.wait(PATIENCE_S) in (0, 1)  # 0: it was done before the second began

    def _stop(self, draw: random.Random, folder: Path) -> None:
        run, process = self._running(draw, folder)
        process.send_signal(draw.choice((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)))
        assert process.wait(PATIENCE_S) in (0, 75)  # 0: the request came after the last step
        assert newest_step(run) == max(step for _, step in records_of(run))
        check(run, self._start(run))

    def _running(self, draw: random.Random, folder: Path) -> tuple[Path, subprocess.Popen[bytes]]:
        run, step = make_run(folder, STEPS, STEP_S), draw.randint(1, STEPS // 2)
        process = self._start(run)
        wait_until(lambda: step in [number for _, number in records_of(run)], PATIENCE_S, f"step {step}")
        return run, process

    def _start(self, run: Path) -> subprocess.Popen[bytes]:
        process = start(run)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process


def check(run: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait for the run's end, and check its records."""
    assert process.wait(PATIENCE_S) == 0
    assert_one_history(records_of(run), STEPS)


def records_of(run: Path) -> list[tuple[int, int]]:
    """Return the start and step of each record."""
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(one["start"], one["step"]) for one in map(json.loads, lines)]
