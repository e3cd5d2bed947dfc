"""Heartbeats: while its ranks run, each node of a start touches RUN/starts/NNNN/alive/NODE every `BEAT_S` seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.run_layout import ALIVE, start_folder

BEAT_S = 15.0


def pause_s(limit_s: float) -> float:
    """Return the seconds between heartbeats if a node is given up after `limit_s` without one."""
    return min(BEAT_S, limit_s / 4)


@contextmanager
def beating(run: Path, number: int, node: str, every_s: float = BEAT_S) -> Iterator[None]:
    """Within the block, send a heartbeat from this node every `every_s` seconds."""
    file, ended = start_folder(run, number) / ALIVE / node, threading.Event()

    def beat() -> None:
        while not ended.is_set():
            with suppress(OSError):  # a full disk must not end training
                file.parent.mkdir(exist_ok=True)
                file.touch()
            ended.wait(every_s)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def heartbeats(run: Path, number: int) -> dict[str, float]:
    """Return the time of the last heartbeat of each node that has sent one in a start, by the file system's clock."""
    found = {}
    for file in sorted((start_folder(run, number) / ALIVE).glob("*")):
        with suppress(OSError):
            found[file.name] = file.stat().st_mtime
    return found


def silences_s(run: Path, number: int, now: float) -> dict[str, float]:
    """Return the seconds since the last heartbeat of each node that has sent one in a start."""
    return {node: now - beat for node, beat in heartbeats(run, number).items()}
