"""A run belongs to its newest start, also while an earlier one still trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.ranks import request_stop
from pretrain.checkpoint import claim_start, newest_start
from tests.chaos.test_chaos import finish
from tests.chaos.training import Training, Zygote


@pytest.fixture
def training(zygote: Zygote, tmp_path: Path) -> Iterator[Training]:
    training = Training(zygote, tmp_path / "runs", train={"steps": 40})
    yield training
    training.abandon()


def test_an_earlier_start_ends_on_all_ranks_when_a_newer_one_begins(training: Training) -> None:
    training.start()
    training.wait_for_steps(5)
    number = claim_start(training.run)
    assert training.end() == 1
    assert training.verdict().startswith(f"error: superseded by start {number}")
    for rank in (0, 1):
        assert "superseded by start 2" in training.output(rank)
        assert "Traceback" not in training.output(rank)
    finish(training, 40)
    assert newest_start(training.run) == 3


def test_a_request_in_the_folder_stops_the_start_that_it_names(training: Training) -> None:
    request_stop(training.run, "start 2")
    training.start()
    training.wait_for_steps(5)
    request_stop(training.run, "start 1")
    assert training.end() == 75
    finish(training, 40)
