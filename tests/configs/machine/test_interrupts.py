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
