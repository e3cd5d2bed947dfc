"""Standard output and standard error that never end a command: of terminals, pipes and files that fail."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path

from typing_extensions import Buffer, override


def never_fail_to_encode() -> None:
    """Show characters that the console's encoding lacks as `?`, from now on, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def never_fail_to_write() -> None:
    """Discard what standard output does not take, from now on: its reader has ended, or its disk is full.

    For a command whose work matters more than its output.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # for the rest of the process
    elif isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(io.UnsupportedOperation):  # no file of the system
            raw = _PatientOutput(sys.stdout.fileno(), "wb", closefd=False)
            is_terminal = sys.stdout.isatty()
            buffered = io.BufferedWriter(raw)
            sys.stdout = io.TextIOWrapper(buffered, sys.stdout.encoding, "replace", line_buffering=is_terminal)


class _PatientOutput(io.FileIO):
    """A file whose failures are reported once; what is written after a failure is discarded."""

    has_failed = False

    @override
    def write(self, data: Buffer) -> int:
        size = memoryview(data).nbytes
        if not self.has_failed:
            try:
                return super().write(data)
            except OSError as error:
                self.has_failed = True
                if error.errno != errno.EPIPE:
                    with suppress(OSError):  # standard error can be on the same disk
                        sys.stderr.write(f"WARNING: standard output fails ({error.strerror}); continuing without it\n")
        return size
