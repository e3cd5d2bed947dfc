"""Ctrl-C during imports, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SLOW_IMPORT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
PROGRAM = """
import signal
{before}
from configs.machine import ctrl_c_ends_silently
with ctrl_c_ends_silently():
    {inside}
print("after", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize(
    ("before", "inside", "code", "printed"),
    [
        ("", SLOW_IMPORT, -signal.SIGINT, ""),
        ("", "pass", 0, "after True\n"),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)", SLOW_IMPORT, 0, "after False\n"),
    ],
)
def test_ctrl_c_during_imports(before: str, inside: str, code: int, printed: str) -> None:
    program = PROGRAM.format(before=before, inside=inside)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, printed, "")


HANGING_END = """
import signal, sys, threading
from configs.machine import interrupting
from configs.machine import interrupts
interrupts._END_S = 0.5
lock, received = threading.Lock(), []
lock.acquire()
try:
    with interrupting(received):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            lock.acquire()  # nobody releases it
except KeyboardInterrupt:
    print(received[0].name, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


def test_an_end_that_hangs_is_interrupted_too() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING_END], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "SIGTERM True\n", "")
