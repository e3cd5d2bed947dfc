"""Trainings in two ranks with spoiled losses: skipped steps, skipped rows, giving up, and log messages.

One launch of ranks serves all tests.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.recipe import write_recipe
from pretrain import checkpoint as checkpoints, stop
from pretrain.engine.distributed import World, gather
from pretrain.telemetry.metrics_file import read_metrics
from pretrain.trainer import Trainer
from tests.chaos.training import recipe_of
from tests.distributed import ranks, small
from tests.pretrain.synthetic import write_dataset

STEPS, ROWS_A_STEP = 24, 4
SPIKE_STEPS, SPIKE_AT = 44, 40
NAN, HUGE = float("nan"), 3.0  # factors for the losses

Results = dict[str, Any]


def train_all(folder: str) -> Results:
    """Train each case in its own run."""
    world, place = small.join(), Path(folder)
    bad, lasting = (range(40, 52), NAN), (range(40, 1_000), NAN)
    return {
        "rollback": _train(world, place / "rollback", bad, 1, max_skipped_steps=3),
        "no rollback": _train(world, place / "no-rollback", bad, 1, max_skipped_steps=4),
        "hopeless": _train(world, place / "hopeless", lasting, 0, max_skipped_steps=2),
        "slow": _train(world, place / "slow", (range(0), NAN), 1, slowness=2.0),
        "at once": _train(world, place / "at-once", (range(1_000), NAN), 0, max_skipped_steps=2),
        **{
            f"spike {stage} {skip}": _train(
                world, place / f"spike-{stage}-{skip}", (range(4 * SPIKE_AT, 4 * SPIKE_AT + 4), HUGE), 1,
                steps=SPIKE_STEPS, zero_stage=stage, precision="fp32", skip_loss_spikes=skip,
            )
            for stage in (0, 2) for skip in (False, True)
        },
    }  # fmt: skip


def _train(
    world: World, run: Path, spoiled: tuple[range, float], spoiler: int, slowness: float = 0.0, **changes: Any
) -> Results:
    """Train. On rank `spoiler`, multiply the losses of steps that begin in a range of rows.

    That rank also waits after each forward pass, for `slowness` times the duration of the pass.
    """
    recipe = recipe_of(str(run.parent / "dataset"), run, train={"steps": STEPS} | changes)
    if world.rank == 0:
        run.mkdir()
        write_recipe(recipe, run / "recipe.toml")
    gather(None)
    trainer = Trainer(run, recipe, world, stop.StopRequest())
    forward, steps, cursor = trainer.engine.forward, trainer.loader.steps, 0
    rows, factor = spoiled

    def watched_steps(*arguments: Any) -> Iterator[Any]:
        nonlocal cursor
        for step in steps(*arguments):
            cursor = step.cursor
            yield step

    def spoiling_forward(batch: object) -> tuple[Any, ...]:
        began = time.perf_counter()
        first, *others = forward(batch)
        if world.rank == spoiler:
            time.sleep(slowness * (time.perf_counter() - began))
        return (first * factor if cursor in rows and world.rank == spoiler else first, *others)

    vars(trainer.loader)["steps"] = watched_steps
    vars(trainer.engine)["forward"] = spoiling_forward
    try:
        ended = trainer.train("auto")
    except UserError as error:
        return {"error": str(error), "records": read_metrics(run)}
    folder = checkpoints.find_checkpoint(run)
    assert folder
    state = checkpoints.read_state(folder)
    return {"done": ended, "records": read_metrics(run), "skipped": state.skipped, "lost": state.skipped_steps}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    folder = tmp_path_factory.mktemp("runs")
    write_dataset(folder / "dataset", [[400] * 4], vocabulary_size=120)
    made = ranks.run(_with_output, 2, str(folder), timeout_s=500)
    return [result | {"output": (folder / f"{rank}.log").read_text()} for rank, result in enumerate(made)]


def _with_output(folder: str) -> Results:
    import logging
    import os

    log = Path(folder) / f"{os.environ['RANK']}.log"
    logging.basicConfig(filename=log, level=logging.WARNING)
    return train_all(folder)


def test_all_ranks_see_the_same(results: list[Results]) -> None:
    ours, theirs = ({name: value for name, value in result.items() if name != "output"} for result in results)
    assert ours == theirs


def test_three_skipped_steps_roll_back_and_skip_their_rows(results: list[Results]) -> None:
    result = results[0]["rollback"]
    assert result["done"] is True
    assert result["skipped"] == [[40, 52]]
    records = result["records"]
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    # Steps 11 to 13 began at rows 40 to 48; step 11 now begins after them.
    assert [record["cursor"] for record in records] == [*range(0, 40, 4), *range(52, 108, 4)]
    assert not any(record["skipped"] for record in records)
    assert [record["passed_over_rows"] for record in records] == [0] * 10 + [12] * 14


def test_fewer_skipped_steps_do_not_roll_back(results: list[Results]) -> None:
    result = results[0]["no rollback"]
    assert (result["skipped"], result["lost"]) == ([], 3)
    lost = [record["step"] for record in result["records"] if record["skipped"]]
    assert lost == [11, 12, 13]
    assert {record["fault"] for record in result["records"]} == {None, "gradient not finite"}
    assert result["records"][-1]["skipped_steps"] == 3
    assert result["records"][-1]["samples"] == (STEPS - 3) * ROWS_A_STEP


def test_the_log_names_step_rank_shard_and_rows(results: list[Results]) -> None:
    output = results[0]["output"]
    assert "step 11: gradient not finite; losses not finite on rank 1: " in output
    assert "p00-train.arrow rows " in output
    assert "; rows 40 to 43 of the global order" in output
    assert "3 steps in a row were skipped, the last of them step 13: rolling back to " in output
    assert "step_00000009 and skipping rows 40 to 51" in output
    assert results[1]["output"] == ""


def test_log_names_a_slow_rank_every_twenty_steps(results: list[Results]) -> None:
    named = {record["step"]: record["slow_rank"] for record in results[0]["slow"]["records"]}
    assert named == {step: 1 if step == 20 else None for step in range(1, STEPS + 1)}


def test_training_ends_with_a_reason_if_rollback_does_not_help(results: list[Results]) -> None:
    assert (
        "2 steps in a row were skipped, the last of them step 12, again after 3 rollbacks"
        in results[0]["hopeless"]["error"]
    )
    assert "there is no checkpoint to roll back to" in results[0]["at once"]["error"]


@pytest.mark.parametrize("stage", [0, 2])
def test_loss_spike_is_logged_and_skipped_if_the_recipe_says_so(results: list[Results], stage: int) -> None:
    logged, skipped = (results[0][f"spike {stage} {skip}"]["records"] for skip in (False, True))
    for records in (logged, skipped):
        assert [record["step"] for record in records if record["fault"] == "loss spike"] == [SPIKE_AT + 1]
    assert [record["step"] for record in logged if record["skipped"]] == []
    assert [record["step"] for record in skipped if record["skipped"]] == [SPIKE_AT + 1]
    assert [record["loss"] for record in logged[: SPIKE_AT + 1]] == [
        record["loss"] for record in skipped[: SPIKE_AT + 1]
    ]
    assert logged[-1]["loss"] != skipped[-1]["loss"]
    assert "deviations above the mean" in results[0]["output"]
