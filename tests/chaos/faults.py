"""Ways to disturb a training. Each returns when it has happened, or when the training has ended of it."""

from __future__ import annotations

import random
import signal
import time

import psutil

from tests.chaos.disk import Disk
from tests.chaos.training import LIMIT_S, Training

STACKS = "most recent call first"


def kill(training: Training, draw: random.Random) -> None:
    """SIGKILL to a rank at some moment."""
    training.wait_for_steps(draw.randint(1, 8))
    time.sleep(draw.uniform(0, 0.1))
    _kill_one(training, draw)


def kill_in_save(training: Training, draw: random.Random) -> bool:
    """SIGKILL to a rank while a checkpoint is written. Whether it was: a save that was over leaves nothing behind."""
    saves = draw.randint(0, 2)
    training.wait_for(lambda: training.output(0).count("\nsaved ") >= saves)
    training.wait_for(lambda: bool(training.partial()), pause_s=0.0005)
    time.sleep(draw.uniform(0, 0.03))
    _kill_one(training, draw)
    return bool(training.partial())


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


def _kill_one(training: Training, draw: random.Random) -> None:
    victim: psutil.Process = draw.choice(training.ranks())
    victim.send_signal(signal.SIGKILL)
    assert training.end() == 1
    assert "was killed by SIGKILL" in training.verdict()
