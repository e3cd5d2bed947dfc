"""Faults for a training. Each function returns when its fault has happened, or has ended the training."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.disk import Disk
from tests.chaos.training import LIMIT_S, Training

STACKS = "most recent call first"


def kill(training: Training, draw: random.Random) -> None:
    """Send SIGKILL to a rank at a random moment."""
    training.wait_for_steps(draw.randint(1, 8))
    time.sleep(draw.uniform(0, 0.1))
    _kill_one(training, draw)


def kill_in_save(training: Training, draw: random.Random) -> None:
    """Send SIGKILL to a rank while it writes a checkpoint."""
    saves = draw.randint(1, 3)  # the first save removes the leftovers of an earlier kill
    training.wait_for(lambda: training.output(0).count("\nsaved ") >= saves)
    files = draw.randint(0, 3)
    training.wait_for(lambda: _is_held_in_save(training, files), pause_s=0.0005)
    _kill_one(training, draw)


def stop(training: Training, draw: random.Random) -> None:
    """Send SIGSTOP to a rank. The run ends within its limit, and every rank has printed its stacks."""
    training.wait_for_steps(draw.randint(1, 8))
    began = time.monotonic()
    victim = draw.choice(training.ranks())
    victim.suspend()
    assert training.end() == 1
    assert time.monotonic() - began < LIMIT_S + 10
    assert all(STACKS in training.output(rank) or "Traceback" in training.output(rank) for rank in (0, 1))
    assert any(STACKS in training.output(rank) for rank in (0, 1))


def signalled(training: Training, draw: random.Random) -> None:
    """Send a stop signal to a rank. All ranks save the same step, and the run can be resumed."""
    training.wait_for_steps(draw.randint(1, 8))
    draw.choice(training.ranks()).send_signal(draw.choice((signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)))
    assert training.end() == 75, training.output(0)


def fill(training: Training, draw: random.Random, disk: Disk) -> None:
    """Fill the disk. Saves fail, training continues, and saves again when space is free."""
    training.wait_for_steps(draw.randint(1, 4))
    disk.fill()
    training.wait_for(lambda: "could not be saved" in training.output(0) or "NOT saved" in training.output(0))
    disk.free()
    saved = training.output(0).count("\nsaved ")
    training.wait_for(lambda: training.output(0).count("\nsaved ") > saved)


def stall(training: Training, draw: random.Random, disk: Disk) -> None:
    """Stall the disk for a short time. Training waits, then continues."""
    training.wait_for_steps(draw.randint(1, 4))
    disk.stall()
    time.sleep(draw.uniform(1, 3))
    disk.resume()
    training.wait_for_steps(training.output(0).count("\nstep ") + 2)


def stall_too_long(training: Training, draw: random.Random, disk: Disk) -> None:
    """Stall the disk for longer than the limit. The watchdog ends the run."""
    training.wait_for_steps(draw.randint(1, 4))
    disk.stall()
    try:
        training.wait_for(lambda: any(STACKS in training.output(rank) for rank in (0, 1)))
    finally:
        disk.resume()  # a process that waits for a disk cannot be killed
    assert training.end() == 1


def _is_held_in_save(training: Training, files: int) -> bool:
    """Stop the ranks once an unfinished save has `files` files. Let them run if the save is already over."""
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
    """Return the number of files in a folder that can disappear at any time, or -1 if it has disappeared."""
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
