"""The exit codes of every command and rank, and the signals that they understand."""

from __future__ import annotations

import signal

DONE = 0
FAILED = 1  # for any other reason; also: a newer start of the run has taken over
USER_ERROR = 2  # the user's input is wrong
STOPPED = 75  # ended early, with something new saved: the same command resumes it

# Each asks for a checkpoint and an end: Ctrl-C, a scheduler or `kill`, and Slurm before a time limit.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
STACKS_SIGNAL = signal.SIGUSR2  # a rank writes the stacks of its threads to standard error and continues


def ended_by(number: int) -> int:
    """The exit code of what a signal ended, with nothing new saved."""
    return 128 + number


def is_ended_by_signal(code: int) -> bool:
    """Whether an exit code is one of `ended_by`."""
    return code > ended_by(0)
