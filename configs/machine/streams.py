"""Standard output and standard error on terminals that do not show every character."""

from __future__ import annotations

import io
import sys


def never_fail_to_encode() -> None:
    """Show characters that the console's encoding lacks as `?`, from now on, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
