"""What lies in a run's folder in place of a record ends a training only if it cannot be recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.test_chaos import finish
from tests.chaos.training import Training, Zygote

IN_THE_WAY: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(b"\xff\xfe\0" * 100),
    lambda path: os.mkfifo(path),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.mkdir(),
    lambda path: path.symlink_to(path),
]


@pytest.fixture
def training(zygote: Zygote, tmp_path: Path) -> Iterator[Training]:
    training = Training(zygote, tmp_path / "runs", train={"steps": 10})
    yield training
    training.abandon()


@pytest.mark.parametrize("place", IN_THE_WAY)
def test_a_request_that_cannot_be_read_stops_nobody(training: Training, place: Callable[[Path], object]) -> None:
    place(training.run / "stop")
    finish(training, 10)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (IN_THE_WAY[1], "cannot open: Not a regular file. Move it away."),
        (IN_THE_WAY[2], "cannot open: Not a regular file. Move it away."),
        (IN_THE_WAY[3], "cannot open: Is a directory. Move it away."),
        (IN_THE_WAY[4], "cannot write. A link is in the way: remove it."),
    ],
)
def test_what_is_no_file_of_records_is_named_and_training_starts_without_it(
    training: Training, place: Callable[[Path], object], told: str
) -> None:
    metrics = training.run / "metrics.jsonl"
    place(metrics)
    training.start()
    assert training.end() == 2
    assert training.verdict() == f"error: {metrics}: {told}"
    metrics.rename(training.run / "away")
    finish(training, 10)
