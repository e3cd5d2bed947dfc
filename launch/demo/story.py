"""Lines that the demo's acts print."""

from __future__ import annotations

import sys


def announce(text: str) -> None:
    """Print what the act does next."""
    print_line(f"\n>> {text}")


def print_line(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
