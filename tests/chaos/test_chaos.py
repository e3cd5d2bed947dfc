"""Trainings with all kinds of faults must end as without faults."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pretrain import checkpoint as checkpoints
from pretrain.telemetry.metrics_file import read_metrics
from tests.chaos import disk, faults
from tests.chaos.training import GLOBAL_BATCH_SIZE, ROWS, STEPS, Training, Zygote, loader_of

SEED = 4
FEW = {"kill": 1, "kill in save": 2, "stop": 1}
WITHOUT_DISK = {"kill": faults.kill, "kill in save": faults.kill_in_save, "stop": faults.stop}
FIFTY = {"kill": 18, "kill in save": 20, "stop": 6, "fill": 3, "stall": 2, "stall too long": 1}


@pytest.fixture
def training(zygote: Zygote, tmp_path: Path) -> Iterator[Training]:
    training = Training(zygote, tmp_path / "runs", train={"steps": 60})
    yield training
    training.abandon()


def test_a_few_faults(training: Training) -> None:
    assert disturb(training, FEW, None) == FEW
    finish(training, 60)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_any_rank_saves_once_and_stops(training: Training, rank: int, number: signal.Signals) -> None:
    training.start()
    training.wait_for_steps(2)
    training.ranks()[rank].send_signal(number)
    assert training.end() == 75
    folder = checkpoints.find_checkpoint(training.run)
    assert folder is not None
    assert checkpoints.read_state(folder).step == training.step() < 60
    assert training.leftovers() == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_faults(zygote: Zygote, tmp_path: Path) -> None:
    """Print figures with `pytest -m slow -s tests/chaos`."""
    began = time.monotonic()
    undisturbed = Training(zygote, tmp_path / "undisturbed")
    finish(undisturbed, STEPS)
    undisturbed_s = time.monotonic() - began
    with disk.mounted(tmp_path) as place:
        training = Training(zygote, place.folder)
        assert disturb(training, FIFTY, place) == FIFTY
        finish(training, STEPS)
        assert learned(training.run) == learned(undisturbed.run)
    seconds = {"undisturbed_s": round(undisturbed_s), "disturbed_s": round(time.monotonic() - began - undisturbed_s)}
    print(json.dumps({"faults": FIFTY, "starts": training.starts, "rows_trained_once": ROWS} | seconds))


def disturb(training: Training, wanted: dict[str, int], place: disk.Disk | None) -> dict[str, int]:
    """Start the training repeatedly, each time with another fault. Return the number of faults of each kind."""
    draw, done = random.Random(SEED), Counter[str]()
    todo = [name for name, count in wanted.items() for _ in range(count)]
    draw.shuffle(todo)
    while todo:
        name = todo.pop()
        resume(training)
        if name in WITHOUT_DISK:
            WITHOUT_DISK[name](training, draw)
        if place:
            if name == "stall too long":
                faults.stall_too_long(training, draw, place)
            elif name in ("fill", "stall"):
                {"fill": faults.fill, "stall": faults.stall}[name](training, draw, place)
                faults.kill(training, draw)
        done[name] += 1
    return dict(done)


def resume(training: Training) -> None:
    """Start the training, and check that it resumes from the newest valid checkpoint."""
    folder = checkpoints.find_checkpoint(training.run)
    step = checkpoints.read_state(folder).step if folder else 0
    training.start()
    training.wait_for(lambda: "\nranks " in training.output(0))
    found = re.search(r"^run .*, (?:resumed )?from step (\d+)$", training.output(0), re.MULTILINE)
    assert found
    assert int(found[1]) == step


def finish(training: Training, steps: int) -> None:
    """Train to the end without faults. Every row is trained once, in order, and nothing is left behind."""
    training.start()
    assert training.end() == 0
    records, loader = read_metrics(training.run), loader_of(training.recipe)
    assert [record["step"] for record in records] == list(range(1, steps + 1))
    assert [record["cursor"] for record in records] == list(range(0, steps * GLOBAL_BATCH_SIZE, GLOBAL_BATCH_SIZE))
    digests: list[object] = [loader.step(int(row["cursor"]), GLOBAL_BATCH_SIZE).rows_digest for row in records]
    assert [record["rows"] for record in records] == digests
    shards, rows = loader.order.rows(0, ROWS)
    assert len(np.unique(shards * ROWS + rows)) == ROWS  # the order has each row of the epoch once
    assert training.leftovers() == []


def learned(run: Path) -> list[tuple[float, ...]]:
    """Return what must not depend on faults."""
    return [(record["step"], record["loss"], record["grad_norm"]) for record in read_metrics(run)]
