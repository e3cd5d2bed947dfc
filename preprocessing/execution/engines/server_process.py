"""Execute a program in a session of its own, which Ctrl-C in a terminal does not reach, and kill it with its driver."""

from __future__ import annotations

import os
import sys

from configs.machine import die_with

if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.setsid()
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  # no shell
