"""Saves in the background: what is saved, what training computes meanwhile, failures, and kills."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pretrain import checkpoint as checkpoints
from pretrain.checkpoint import Ownership, Saver, TrainingState, fragment_files, saving
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from tests.distributed import small
from tests.limits import no_file_above


@pytest.fixture
def engine(alone: World) -> Engine:
    engine = small.engine_of(alone, 1, "fp32")
    small.losses_of(engine, range(1, 3))
    return engine


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that the writing thread waits for, so that a save is still pending."""
    released, write = threading.Event(), fragment_files.write_fragments

    def wait_and_write(path: Path, *fragments: object) -> None:
        assert released.wait(60)
        write(path, *fragments)  # type: ignore[arg-type]

    monkeypatch.setattr(saving, "write_fragments", wait_and_write)
    return released


def saver_of(run: Path, engine: Engine) -> Saver:
    return Saver(engine, Ownership(run, 0), keep=3)


def state(step: int) -> TrainingState:
    return TrainingState(step=step, cursor=step)


def test_training_continues_and_the_saved_weights_are_those_of_the_step(
    tmp_path: Path, engine: Engine, alone: World, held: threading.Event
) -> None:
    before = {name: weight.detach().clone() for name, weight in engine.module.named_parameters()}
    saver = saver_of(tmp_path, engine)
    saver.begin(state(2), in_background=True)
    assert saver.complete(wait=False) is None
    assert saver.is_saving()
    losses = small.losses_of(engine, range(3, 6))
    assert checkpoints.find_checkpoint(tmp_path) is None
    held.set()
    folder = saver.complete(wait=True)
    assert folder is not None
    assert not saver.is_saving()
    saved = checkpoints.load_weights(folder)
    assert all(torch.equal(saved[name], weight) for name, weight in before.items())

    undisturbed = small.engine_of(alone, 1, "fp32")
    small.losses_of(undisturbed, range(1, 3))
    assert losses == small.losses_of(undisturbed, range(3, 6))  # the same to the bit


def test_a_background_save_equals_a_blocking_one(tmp_path: Path, engine: Engine) -> None:
    saver = saver_of(tmp_path / "one", engine)
    saver.begin(state(2), in_background=True)
    one = saver.complete(wait=True)
    other = checkpoints.save_checkpoint(tmp_path / "other", engine, state(2), keep=1)
    assert one is not None
    assert other is not None
    assert checkpoints.read_state(one) == checkpoints.read_state(other)
    names = sorted(path.name for path in other.iterdir())
    assert [(one / name).read_bytes() for name in names] == [(other / name).read_bytes() for name in names]


def test_a_save_that_is_interrupted_leaves_the_last_one_whole(
    tmp_path: Path, engine: Engine, held: threading.Event
) -> None:
    held.set()
    saver = saver_of(tmp_path, engine)
    saver.begin(state(2), in_background=True)
    whole = saver.complete(wait=True)
    held.clear()
    saver.begin(state(3), in_background=True)  # and the process is killed here
    assert checkpoints.find_checkpoint(tmp_path) == whole
    held.set()


def _full_disk(saver: Saver) -> Path | None:
    with no_file_above(1_000):
        saver.begin(state(3), in_background=True)
        return saver.complete(wait=True)


def _blocked(saver: Saver) -> Path | None:
    (saver._owner.run / "checkpoints").write_text("in the way")
    saver.begin(state(3), in_background=True)
    return saver.complete(wait=True)


@pytest.mark.parametrize("fail", [_full_disk, _blocked])
def test_a_failed_save_is_reported_and_the_next_one_works(
    tmp_path: Path, engine: Engine, fail: Callable[[Saver], Path | None], caplog: pytest.LogCaptureFixture
) -> None:
    saver = saver_of(tmp_path, engine)
    assert fail(saver) is None
    assert "step 3 was NOT saved" in caplog.text
    assert not saver.is_saving()
    if (tmp_path / "checkpoints").is_file():
        (tmp_path / "checkpoints").unlink()
    saver.begin(state(4), in_background=True)
    assert saver.complete(wait=True) == tmp_path / "checkpoints" / "step_00000004"
