"""Supervise real processes that end in different ways: output, exit code, and no process left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import wait_until

DRIVER = """
import json, os, sys
from pathlib import Path
from launch.ranks import supervisor
from launch.ranks.local import run_ranks
from launch.ranks.supervisor import RankCommand

supervisor.STACKS_S = float(os.environ.get("STACKS_S", supervisor.STACKS_S))
folder, programs = Path(sys.argv[1]), sys.argv[2:]
sys.exit(run_ranks([
    RankCommand(
        rank, (sys.executable, "-u", "-c", program), {"RANK": str(rank)}, folder / f"rank_{rank:05}.log",
        float(os.environ.get("PATIENCE_S", "inf")),
    )
    for rank, program in enumerate(programs)
]))
"""
READY = "import os, pathlib; pathlib.Path(os.environ['FOLDER'], 'ready' + os.environ['RANK']).touch()\n"
SLEEPS = READY + "import time; time.sleep(600)"
IGNORES_SIGNALS = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
"""
IGNORES_SIGNALS += SLEEPS
SAVES = """
import signal, sys, time
asked = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
    signal.signal(number, lambda n, f: asked.append(n))
"""
SAVES += READY
SAVES += """
while not asked:
    time.sleep(0.02)
print('saved after', signal.Signals(asked[0]).name)
sys.exit(75)
"""


FIRST_CTRL_C = "stopping after this step; press Ctrl-C again to stop at once\n"


class Launched:
    """A supervisor in its own process, and its ranks."""

    def __init__(self, folder: Path, *programs: str) -> None:
        self.folder = folder
        self.ranks = len(programs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(folder), *map(textwrap.dedent, programs)],
            env={**os.environ, "FOLDER": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while not all((self.folder / f"ready{rank}").exists() for rank in range(self.ranks)):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def descendants(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def end(self, within_s: float = 60) -> tuple[int, str, str, float]:
        """Wait for the end. Return exit code, standard output, standard error, and seconds waited."""
        start = time.monotonic()
        out, err = self.process.communicate(timeout=within_s)
        return self.process.returncode, out, err, time.monotonic() - start


@pytest.fixture
def left_behind() -> Iterator[list[psutil.Process]]:
    """Processes that must be gone at the end of the test."""
    processes: list[psutil.Process] = []
    yield processes
    _, alive = psutil.wait_procs(processes, timeout=2)
    for process in alive:
        process.kill()
    assert alive == []


def test_success_returns_0_and_shows_rank_0(tmp_path: Path) -> None:
    code, out, err, _ = Launched(tmp_path, "print('from rank 0')", "print('from rank 1')").end()
    assert (code, out, err) == (0, "from rank 0\n", "")
    assert (tmp_path / "rank_00001.log").read_text() == "from rank 1\n"


def test_logs_are_appended_and_only_the_new_part_is_shown(tmp_path: Path) -> None:
    Launched(tmp_path, "print('first start')").end()
    _, out, _, _ = Launched(tmp_path, "print('second start')").end()
    assert out == "second start\n"
    assert (tmp_path / "rank_00000.log").read_text() == "first start\nsecond start\n"


def test_rank_0_is_shown_while_it_runs(tmp_path: Path) -> None:
    launched = Launched(tmp_path, "import time; print('step 1'); time.sleep(600)")
    assert launched.process.stdout is not None
    assert launched.process.stdout.readline() == "step 1\n"
    launched.process.send_signal(signal.SIGINT)
    launched.end()


def test_a_crash_ends_the_others_and_is_reported_once(tmp_path: Path, left_behind: list[psutil.Process]) -> None:
    crashes = READY + "import time; time.sleep(0.5); raise ValueError('the true cause')"
    launched = Launched(tmp_path, SLEEPS, crashes, IGNORES_SIGNALS)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    code, out, err, seconds = launched.end()
    assert code == 1
    assert seconds < 7
    assert err.count("Traceback") == 1
    assert "ValueError: the true cause" in err
    assert "rank 1 failed with exit code 1" in err
    assert str(tmp_path / "rank_00001.log") in err
    assert out == ""


def test_the_cause_is_reported_and_not_its_consequence(tmp_path: Path) -> None:
    """Rank 0 loses its connection because rank 1 fails, and ends first. Rank 1 is the cause."""
    echo = "import time; time.sleep(0.5); raise RuntimeError('Connection closed by peer [127.0.0.1]')"
    cause = """
        import time, traceback
        time.sleep(0.4)
        try: raise KeyError('the true cause')
        except KeyError: traceback.print_exc()
        time.sleep(0.3)
        raise SystemExit(1)
    """
    code, out, err, _ = Launched(tmp_path, echo, cause).end()
    assert code == 1
    assert "the true cause" in err
    assert "closed by peer" not in out + err


def test_equal_failures_that_end_slowly_are_reported_once(tmp_path: Path) -> None:
    """With torch, seconds pass between a traceback and the end of the process."""
    slow = "import atexit, time; atexit.register(time.sleep, 2); print('step 1'); raise TypeError('of every rank')"
    code, out, err, _ = Launched(tmp_path, slow, slow).end()
    assert code == 1
    assert out == "step 1\n"
    assert err.count("TypeError: of every rank") == err.count("Traceback") == 1


def test_a_killed_rank_is_named_with_its_signal(tmp_path: Path) -> None:
    echo = "import time; print('step 7'); time.sleep(1.2); raise RuntimeError('Connection reset by peer')"
    killed = "import os, signal, time; time.sleep(1.2); os.kill(os.getpid(), signal.SIGKILL)"
    code, out, err, _ = Launched(tmp_path, echo, killed).end()
    assert (code, out) == (1, "step 7\n")
    assert "rank 1 was killed by SIGKILL" in err
    assert "Traceback" not in err


def test_a_user_error_of_every_rank_is_one_line(tmp_path: Path) -> None:
    wrong = "import sys; sys.stderr.write('a warning\\nerror: no such data set. Make it.\\n'); sys.exit(2)"
    code, out, err, _ = Launched(tmp_path, wrong, wrong).end()
    assert (code, out, err) == (2, "", "error: no such data set. Make it.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_a_stop_signal_reaches_the_ranks_which_save(tmp_path: Path, number: signal.Signals) -> None:
    launched = Launched(tmp_path, SAVES, SAVES)
    launched.wait_until_ready()
    launched.process.send_signal(number)
    code, out, err, _ = launched.end()
    assert (code, out) == (75, f"saved after {number.name}\n")
    assert err == (FIRST_CTRL_C if number == signal.SIGINT else "")


def test_the_first_ctrl_c_has_no_deadline(tmp_path: Path) -> None:
    """A step, an evaluation or a save can be long; it used to be killed after four seconds."""
    slow = SAVES.replace("sys.exit(75)", "time.sleep(5); print('saved all'); sys.exit(75)")
    launched = Launched(tmp_path, slow, SAVES)
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGINT)
    code, out, err, _ = launched.end()
    assert (code, out, err) == (75, "saved after SIGINT\nsaved all\n", FIRST_CTRL_C)


def test_a_second_ctrl_c_kills_immediately(tmp_path: Path, left_behind: list[psutil.Process]) -> None:
    launched = Launched(tmp_path, IGNORES_SIGNALS, IGNORES_SIGNALS)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    launched.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    launched.process.send_signal(signal.SIGINT)
    code, _, err, _ = launched.end()
    assert code == 130
    assert err == FIRST_CTRL_C + "stopped by SIGINT before all ranks saved; the run resumes from the last checkpoint\n"


NOHUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_an_ignored_sighup_stays_ignored(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", NOHUP, "-c", DRIVER, str(tmp_path), textwrap.dedent(SAVES)]
    process = subprocess.Popen(argv, env={**os.environ, "FOLDER": str(tmp_path)}, stdout=subprocess.PIPE, text=True)
    wait_until((tmp_path / "ready0").exists, 60, "the rank")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "saved after SIGTERM\n"
    assert process.returncode == 75


@pytest.mark.parametrize("gone", ["console", "nothing"])
def test_a_console_that_vanishes_ends_nothing(tmp_path: Path, gone: str) -> None:
    """The kernel sends SIGHUP when the terminal's other end closes, as when an ssh connection breaks."""
    console, terminal = pty.openpty()
    argv = [sys.executable, "-c", DRIVER, str(tmp_path), textwrap.dedent(SAVES)]
    process = subprocess.Popen(
        argv,
        env={**os.environ, "FOLDER": str(tmp_path)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: os.login_tty(0),
    )
    os.close(terminal)
    wait_until((tmp_path / "ready0").exists, 60, "the rank")
    if gone == "console":
        os.close(console)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    else:
        process.send_signal(signal.SIGHUP)  # by a person or a scheduler: the terminal is still there
    assert process.wait(60) == 75
    expected = "SIGTERM" if gone == "console" else "SIGHUP"
    assert f"saved after {expected}" in (tmp_path / "rank_00000.log").read_text()


def test_ctrl_c_before_the_ranks_have_handlers_shows_no_traceback(tmp_path: Path) -> None:
    launched = Launched(tmp_path, SLEEPS, SLEEPS)
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGINT)
    code, out, err, _ = launched.end()
    assert code == 130
    assert "Traceback" not in out + err


def test_ctrl_c_while_the_ranks_import_is_no_failure(tmp_path: Path) -> None:
    """Python ends with exit code 1 and a traceback if SIGINT reaches it before it has imported `site`."""
    importing = """
        import os, signal, sys
        def fail(*_):
            sys.stderr.write("Fatal Python error\\nTraceback (most recent call last):\\nKeyboardInterrupt\\n")
            sys.stderr.flush()
            os._exit(1)
        signal.signal(signal.SIGINT, fail)
    """
    launched = Launched(tmp_path, textwrap.dedent(importing) + SLEEPS)
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGINT)
    code, _, err, _ = launched.end()
    assert code == 130
    assert "Traceback" not in err


def test_a_stop_that_kills_ranks_before_they_save_is_reported(tmp_path: Path) -> None:
    launched = Launched(tmp_path, SLEEPS)
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGTERM)
    code, _, err, _ = launched.end()
    assert code == 128 + signal.SIGTERM
    assert err.startswith("stopped by SIGTERM before")


@pytest.mark.parametrize("program", ["saves", "fails"])
def test_a_console_that_takes_nothing_blocks_nothing(tmp_path: Path, program: str) -> None:
    """E.g. a terminal that is paused by Ctrl-S, or a pipe that nobody reads: it holds 64 KiB."""
    chatty = textwrap.dedent(SAVES).replace(READY, "for _ in range(5_000): print('a line of output' * 4)\n" + READY)
    launched = Launched(tmp_path, chatty, SAVES if program == "saves" else SLEEPS)
    launched.wait_until_ready()
    time.sleep(1)  # the supervisor shows output after half a second
    if program == "saves":
        launched.process.send_signal(signal.SIGTERM)
    else:
        psutil.Process(launched.process.pid).children()[1].kill()
    assert launched.process.wait(60) == (75 if program == "saves" else 1)
    assert launched.process.communicate()[0].startswith("a line of output")


def test_a_failure_while_stopping_is_reported(tmp_path: Path) -> None:
    fails = SAVES.replace("sys.exit(75)", "raise OSError(28, 'No space left on device')")
    launched = Launched(tmp_path, SAVES, fails)
    launched.wait_until_ready()
    launched.process.send_signal(signal.SIGTERM)
    code, _, err, _ = launched.end()
    assert code == 1
    assert "No space left on device" in err


def test_sigkill_of_the_supervisor_ends_the_ranks(tmp_path: Path, left_behind: list[psutil.Process]) -> None:
    launched = Launched(tmp_path, IGNORES_SIGNALS, IGNORES_SIGNALS)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    assert len(left_behind) == 2
    launched.process.kill()
    launched.end()


def test_child_processes_of_a_rank_end_with_it(tmp_path: Path, left_behind: list[psutil.Process]) -> None:
    parent = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    launched = Launched(tmp_path, parent + SLEEPS, SLEEPS)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    assert len(left_behind) == 3
    launched.process.send_signal(signal.SIGTERM)
    launched.end()


def test_a_suspended_rank_is_ended_too(tmp_path: Path, left_behind: list[psutil.Process]) -> None:
    launched = Launched(tmp_path, SLEEPS, SLEEPS)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    left_behind[0].suspend()
    left_behind[1].kill()
    code, _, err, seconds = launched.end()
    assert code == 1
    assert "was killed by SIGKILL" in err
    assert seconds < 6


def test_closing_the_console_does_not_end_the_run(tmp_path: Path) -> None:
    program = READY + "import time\nfor step in range(20): print('step', step); time.sleep(0.05)"
    launched = Launched(tmp_path, program)
    assert launched.process.stdout is not None
    launched.process.stdout.close()
    assert launched.process.wait(60) == 0
    assert (tmp_path / "rank_00000.log").read_text().endswith("step 19\n")


HANGS = """
import faulthandler, os, signal
faulthandler.register(signal.SIGUSR2)
signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
"""
HANGS += SLEEPS


def test_a_rank_suspended_too_long_ends_the_run_and_all_write_stacks(
    tmp_path: Path, left_behind: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATIENCE_S", "1")
    launched = Launched(tmp_path, HANGS, HANGS)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    left_behind[0].suspend()
    code, _, err, _ = launched.end()
    assert code == 1
    assert "rank 0 was stopped (SIGSTOP or debugger), and ended after 1 s" in err
    for rank in (0, 1):
        assert "most recent call first" in (tmp_path / f"rank_{rank:05}.log").read_text()


def test_a_rank_that_hangs_after_sigterm_writes_its_stacks(
    tmp_path: Path, left_behind: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster each rank has its own supervisor, which gets SIGTERM when another rank fails."""
    monkeypatch.setenv("STACKS_S", "0.5")
    launched = Launched(
        tmp_path, "import faulthandler, signal\nfaulthandler.register(signal.SIGUSR2)\n" + IGNORES_SIGNALS
    )
    launched.wait_until_ready()
    left_behind += launched.descendants()
    launched.process.send_signal(signal.SIGTERM)
    log = tmp_path / "rank_00000.log"
    deadline = time.monotonic() + 60
    while "most recent call first" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launched.process.kill()
    launched.end()


def test_a_rank_suspended_for_a_moment_continues(
    tmp_path: Path, left_behind: list[psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATIENCE_S", "60")
    launched = Launched(tmp_path, SAVES)
    launched.wait_until_ready()
    left_behind += launched.descendants()
    left_behind[0].suspend()
    time.sleep(0.5)
    left_behind[0].resume()
    left_behind[0].terminate()
    assert launched.end()[0] == 75
