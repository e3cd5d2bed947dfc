"""The watchdog ends processes that hang in code that Python cannot interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

WATCHED = """
import ctypes, os, signal, sys, threading, time
from pretrain.engine import watchdog

watchdog.show_stacks_when_asked()
watchdog.watch(1.0)

def hang():
    {hang}

hang()
"""
HANGS = {
    "asleep": "time.sleep(60)",
    "deadlocked": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "in C, with the interpreter's lock held": "ctypes.PyDLL(None).pause()",
    "spinning": "while True: pass",
}


def start(hang: str) -> subprocess.Popen[str]:
    program = WATCHED.format(hang=hang)
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("hang", HANGS)
def test_hanging_process_writes_stacks_and_ends(hang: str) -> None:
    process = start(HANGS[hang])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Timeout" in err
    assert " in hang" in err


def test_beating_process_continues() -> None:
    process = start("[(time.sleep(0.1), watchdog.beat()) for _ in range(20)]; os._exit(7)")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (7, "")


def test_a_step_has_a_shorter_limit_than_a_start() -> None:
    """A pause within the watchdog's limit is over the step's, but only after a beat of a step."""
    process = start("time.sleep(0.5); watchdog.beat(0.2); watchdog.beat(); time.sleep(0.5); os._exit(7)")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (7, "")
    process = start("watchdog.beat(0.2); time.sleep(60)")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Timeout (0:00:00.2" in err


def test_a_beat_starts_no_watchdog() -> None:
    """A process that imports the trainer and trains in itself is not ended some time after its last step."""
    program = "import os, time; from pretrain.engine import beat; beat(0.1); time.sleep(0.5); os._exit(7)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (7, "")


def test_signal_writes_the_stacks() -> None:
    process = start(
        "sys.stderr.write('ready\\n'); sys.stderr.flush(); [watchdog.beat() or time.sleep(0.1) for _ in range(600)]"
    )
    assert process.stderr
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGUSR2)
    seen = [process.stderr.readline() for _ in range(2)]
    time.sleep(0.1)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert "most recent call first" in seen[0]
    assert " in " in seen[1]
