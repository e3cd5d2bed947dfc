"""The exit codes of every command and rank, and the signals that they handle."""

from __future__ import annotations

import signal

# The documentation's table of exit codes is made from these comments.
DONE = 0  # done
FAILED = 1  # any other error, with its traceback; also: a newer start of the run has taken over
USER_ERROR = 2  # the user's input is wrong; one line names the cause, the place and the fix
STOPPED = 75  # ended early with something new saved, a checkpoint, parts of a data set, a trial: the command resumes

# Each requests a checkpoint and an orderly end: Ctrl-C, a scheduler or `kill`, and Slurm before a time limit.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
STACKS_SIGNAL = signal.SIGUSR2  # a rank writes the stacks of its threads to standard error and continues


def ended_by(number: int) -> int:
    """Return the exit code of a process that a signal ended before it saved anything new."""
    return 128 + number


def is_ended_by_signal(code: int) -> bool:
    """Return whether an exit code means "ended by a signal"."""
    return code > ended_by(0)
