"""`bertrain logs`: print the log of a rank."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

from configs.errors import UserError
from configs.run_layout import LOGS, RANK_LOGS, rank_log, rank_of
from launch.ranks import check_is_run

POLL_S = 0.3
BLOCK_BYTES = 1 << 16
MOST_TAIL_BYTES = 64 << 20  # to search for the last lines: a damaged log can be sparse, and have no line breaks


def show_log(run: Path, rank: int, lines: int, *, follow: bool) -> None:
    """Print the last `lines` lines of a log; with `follow`, also new ones. Raise `UserError` if there is none."""
    check_is_run(run)
    log = rank_log(run, rank)
    if not log.is_file():
        found = (rank_of(file.name) for file in (run / LOGS).glob(RANK_LOGS))
        ranks = sorted(rank for rank in found if rank is not None)
        fix = f"choose a rank from {ranks[0]} to {ranks[-1]}" if ranks else "the run has not started yet"
        raise UserError(f"no log of rank {rank}", place=str(run), fix=fix)
    if not log.stat().st_size:
        sys.stderr.write(f"{log}: empty so far\n")
    with log.open("rb") as stream:
        _seek_lines(stream, lines)
        _copy(stream)
        while follow:
            time.sleep(POLL_S)
            _copy(stream)


def _seek_lines(stream: BinaryIO, lines: int) -> None:
    """Seek to the start of the last `lines` lines, reading backwards only as far as needed."""
    end = stream.seek(0, os.SEEK_END)
    start, breaks, first = end, 0, max(0, end - MOST_TAIL_BYTES)
    while start > first and breaks <= lines:
        before, start = start, max(first, start - BLOCK_BYTES)
        stream.seek(start)
        breaks += stream.read(before - start).count(b"\n")
    stream.seek(start)
    last = b"\n".join(stream.read(end - start).split(b"\n")[-lines - 1 :])
    stream.seek(end - len(last))


def _copy(stream: BinaryIO) -> None:
    while block := stream.read(BLOCK_BYTES):
        sys.stdout.buffer.write(block)
    sys.stdout.flush()
