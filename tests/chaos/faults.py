"""Ways to disturb a training. Each returns when it has happened, or when the training has ended of it."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.disk import Disk
from tests.chaos.training import LIMIT_S, Training

STACKS = "most recent call first"


def kill(training: Training, draw: random.Random) -> None:
    """SIGKILL to a rank at some moment."""
    training.wait_for_steps(draw.randint(1, 8))
    time.sleep(draw.uniform(0, 0.1))
    _kill_one(training, draw)


def kill_in_save(training: Training, draw: random.Random) -> None:
    """SIGKILL to a rank while a checkpoint is written."""
    saves = draw.randint(1, 3)  # the first one clears away what an earlier kill has left
    training.wait_for(lambda: training.output(0).count("\nsaved ") >= saves)
    files = draw.randint(0, 3)
    training.wait_for(lambda: _is_held_in_save(training, files), pause_s=0.0005)
    _kill_one(training, draw)


def stop(training: Training, draw: random.Random) -> None:
    """SIGSTOP to a rank: the run ends within its limit, and every rank has shown its stacks."""
    training.wait_for_steps(draw.randint(1, 8))
    began = time.monotonic()
    victim = draw.choice(training.ranks())
    victim.suspend()
    assert training.end() == 1
    assert time.monotonic() - began < LIMIT_S + 10
    assert all(STACKS in training.output(rank) or "Traceback" in training.output(rank) for rank in (0, 1))
    assert any(STACKS in training.output(rank) for rank in (0, 1))


def fill(training: Training, draw: random.Random, disk: Disk) -> None:
    """A full disk: saves fail, training goes on, and saves again when there is room."""
    training.wait_for_steps(draw.randint(1, 4))
    disk.fill()
    training.wait_for(lambda: "could not be saved" in training.output(0) or "NOT saved" in training.output(0))
    disk.free()
    saved = training.output(0).count("\nsaved ")
    training.wait_for(lambda: training.output(0).count("\nsaved ") > saved)


def stall(training: Training, draw: random.Random, disk: Disk) -> None:
    """A disk that stalls for a while: training waits, and goes on."""
    training.wait_for_steps(draw.randint(1, 4))
    disk.stall()
    time.sleep(draw.uniform(1, 3))
    disk.go_on()
    training.wait_for_steps(training.output(0).count("\nstep ") + 2)


def stall_too_long(training: Training, draw: random.Random, disk: Disk) -> None:
    """A disk that stalls for longer than the limit: the watchdog ends the run."""
    training.wait_for_steps(draw.randint(1, 4))
    disk.stall()
    try:
        training.wait_for(lambda: any(STACKS in training.output(rank) for rank in (0, 1)))
    finally:
        disk.go_on()  # who waits for a disk cannot even be killed
    assert training.end() == 1


def _is_held_in_save(training: Training, files: int) -> bool:
    """Stop the ranks once an unfinished save has so many files. A save that was over by then is let go."""
    if not any(_count(folder) >= files for folder in training.partial()):
        return False
    ranks = training.ranks()
    for rank in ranks:
        rank.suspend()
    while any(rank.status() != psutil.STATUS_STOPPED for rank in ranks):
        time.sleep(0.0005)
    if training.partial():
        return True
    for rank in ranks:
        rank.resume()
    return False


def _count(folder: Path) -> int:
    """Files in a folder that may go at any time; -1 once it has gone."""
    with suppress(FileNotFoundError):
        return len(os.listdir(folder))
    return -1


def _kill_one(training: Training, draw: random.Random) -> None:
    ranks = training.ranks()
    draw.choice(ranks).kill()
    for rank in ranks:
        with suppress(psutil.NoSuchProcess):
            rank.resume()
    assert training.end() == 1
    assert "was killed by SIGKILL" in training.verdict()
