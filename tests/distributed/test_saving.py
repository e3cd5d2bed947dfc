"""After a save that fails on one rank or is killed, the earlier checkpoints remain, and no partial one."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from configs.recipe import write_recipe
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint import fragment_files, saving
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.engine import Engine
from pretrain.stop import StopRequest
from pretrain.telemetry import Evaluation
from pretrain.trainer import Trainer
from tests.chaos.training import recipe_of
from tests.distributed import ranks, small
from tests.pretrain.synthetic import write_dataset


def fail_then_die(folder: str) -> None:
    """Save step 2, fail to save step 3 because rank 1's disk is full, and die on rank 1 while saving step 4."""
    run, world = Path(folder), small.join()
    engine = small.engine_of(world, 1, "bf16")
    small.losses_of(engine, range(1, 3))
    saved = [_save(run, engine, 2)]
    small.losses_of(engine, range(3, 4))
    if world.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    saved.append(_save(run, engine, 3))
    if world.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    seen = {"saved": saved, "found": str(checkpoints.find_checkpoint(run)), "there": _contents(run)}
    (run / f"seen by {world.rank}.json").write_text(json.dumps(seen))
    dist.barrier()  # no rank begins the next save while the other one still lists the folder
    if world.rank == 1:
        _die_at("sha256_of_file")
    _save(run, engine, 4)


def resume(folder: str) -> dict[str, Any]:
    """Resume after that, and save step 4."""
    run, world = Path(folder), small.join()
    engine = small.engine_of(world, 1, "bf16")
    found = checkpoints.find_checkpoint(run)
    assert found is not None
    state = checkpoints.load_checkpoint(found, engine)
    small.losses_of(engine, range(state.step + 1, 5))
    return {"step": state.step, "saved": _save(run, engine, 4), "there": _contents(run)}


def die_before_latest(folder: str) -> None:
    """Save step 2, and die after step 3 was renamed into place but before `latest` is updated."""
    run = Path(folder)
    engine = small.engine_of(small.join(), 0, "fp32")
    _save(run, engine, 2)
    _die_at("sync_folder")
    _save(run, engine, 3)


def die_while_a_thread_writes(folder: str) -> None:
    """Save step 2, begin to save step 3 in the background, train on, and die before the file is complete."""
    run = Path(folder)
    engine = small.engine_of(small.join(), 0, "fp32")
    _save(run, engine, 2)
    half_written = threading.Event()

    def write_half(path: Path, _: object) -> None:
        path.write_bytes(bytes(1_000))
        half_written.set()
        threading.Event().wait()

    vars(saving)["write_fragments"] = write_half
    checkpoints.Saver(engine, checkpoints.Ownership(run, 0), keep=1).begin(
        TrainingState(step=3, cursor=0), in_background=True
    )
    assert half_written.wait(60)
    small.losses_of(engine, range(3, 5))
    os.kill(os.getpid(), signal.SIGKILL)


def save_each_step(folder: str) -> list[str]:
    """Train three steps with a save after each, of which the first is written no sooner than it must be."""
    run, world, order, must_end = Path(folder) / "run", small.join(), [], threading.Event()
    recipe = recipe_of(f"{folder}/dataset", run, train={"steps": 3}, checkpoint={"every_steps": 1})
    run.mkdir()
    write_recipe(recipe, run / "recipe.toml")
    trainer, write = Trainer(run, recipe, world, StopRequest()), fragment_files.write_fragments
    begin, complete = trainer.saver.begin, trainer.saver.complete

    def write_late(*arguments: Any) -> None:
        assert must_end.wait(60)
        write(*arguments)

    def begins(state: TrainingState, **options: bool) -> None:
        order.append(f"begin {state.step}")
        begin(state, **options)

    def completes(*, wait: bool) -> Path | None:
        if wait:
            must_end.set()
        done = complete(wait=wait)
        if done or not wait:
            order.append(f"saved {done.name[-1]}" if done else "writing")
        return done

    vars(saving)["write_fragments"] = write_late
    vars(trainer.saver).update(begin=begins, complete=completes)
    assert trainer.train("auto")
    return order


def evaluate_while_a_thread_writes(folder: str) -> list[str]:
    """Train with a save and an evaluation after each step; the first save is written after step 1's evaluation."""
    run, world, order, evaluated = Path(folder) / "run", small.join(), [], threading.Event()
    train = {"steps": 3, "evaluate_every_steps": 1}
    recipe = recipe_of(f"{folder}/dataset", run, train=train, checkpoint={"every_steps": 1})
    run.mkdir()
    write_recipe(recipe, run / "recipe.toml")
    trainer, write = Trainer(run, recipe, world, StopRequest()), fragment_files.write_fragments
    evaluate = trainer.evaluator.evaluate

    def write_late(*arguments: Any) -> None:
        assert evaluated.wait(60), "the evaluation waits for the save"
        order.append("written")
        write(*arguments)

    def evaluates(step: int, is_stop_requested: Callable[[], bool]) -> Evaluation | None:
        result = evaluate(step, is_stop_requested)
        order.append(f"evaluated {step}")
        evaluated.set()
        return result

    vars(saving)["write_fragments"] = write_late
    vars(trainer.evaluator)["evaluate"] = evaluates
    assert trainer.train("auto")
    return order


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which one rank was killed while saving step 4."""
    run = tmp_path_factory.mktemp("run")
    with pytest.raises(ranks.RankError, match="NOT saved") as failure:
        ranks.run(fail_then_die, 2, str(run))
    assert failure.value.exit_codes[1] == -signal.SIGKILL
    return run


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_on_one_rank_fails_the_save_on_all(killed: Path, rank: int) -> None:
    seen = json.loads((killed / f"seen by {rank}.json").read_text())
    assert seen["saved"] == ["step_00000002", None]
    assert seen["there"] == ["step_00000002"]
    assert seen["found"] == str(killed / "checkpoints" / "step_00000002")


def test_next_start_resumes_before_a_killed_save_and_removes_it(killed: Path) -> None:
    assert _contents(killed) == [".step_00000004.0000.partial", "step_00000002"]
    expected = {"step": 2, "saved": "step_00000004", "there": ["step_00000002", "step_00000004"]}
    assert ranks.run(resume, 2, str(killed)) == [expected, expected]


def test_checkpoint_is_valid_once_it_is_renamed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ranks.RankError) as failure:
        ranks.run(die_before_latest, 1, str(tmp_path))
    assert failure.value.exit_codes == [-signal.SIGKILL]
    assert (tmp_path / "latest").read_text() == "step_00000002\n"
    assert checkpoints.find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_00000003"
    assert caplog.messages == []


def test_a_kill_while_a_thread_writes_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    with pytest.raises(ranks.RankError) as failure:
        ranks.run(die_while_a_thread_writes, 1, str(tmp_path))
    assert failure.value.exit_codes == [-signal.SIGKILL]
    assert _contents(tmp_path) == [".step_00000003.0000.partial", "step_00000002"]
    assert checkpoints.find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_00000002"


def test_a_save_waits_for_the_one_before_it(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset", [[400]], [64], vocabulary_size=120)
    (order,) = ranks.run(save_each_step, 1, str(tmp_path))
    assert order[:4] == ["begin 1", "writing", "saved 1", "begin 2"]
    assert order.index("saved 2") < order.index("begin 3") < order.index("saved 3")


def test_an_evaluation_does_not_wait_for_the_save(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset", [[400]], [64], vocabulary_size=120)
    (order,) = ranks.run(evaluate_while_a_thread_writes, 1, str(tmp_path))
    assert order[:2] == ["evaluated 1", "written"]


def _save(run: Path, engine: Engine, step: int) -> str | None:
    folder = checkpoints.save_checkpoint(run, engine, TrainingState(step=step, cursor=0), keep=3)
    return folder.name if folder else None


def _contents(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def _die_at(name: str) -> None:
    """Die when `checkpoint` next calls the function with this name."""
    setattr(saving, name, lambda _: os.kill(os.getpid(), signal.SIGKILL))
