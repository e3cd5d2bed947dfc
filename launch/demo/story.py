"""Print the lines of the demo's acts."""

from __future__ import annotations

import sys


def announce(text: str) -> None:
    """Print what the act does next."""
    print_line(f"\n>> {text}")


def print_line(text: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
