"""A stop request during an evaluation breaks it off, saves, and the next start makes the evaluation up."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from configs.recipe import write_recipe
from pretrain import checkpoint as checkpoints, stop
from pretrain.telemetry.metrics_file import read_metrics
from pretrain.trainer import Trainer
from tests.chaos.training import recipe_of
from tests.distributed import ranks, small
from tests.pretrain.synthetic import write_dataset


def _train(folder: str, stop_at: int, resume: bool) -> list[Any]:
    """Train to step 8 with evaluations at every second step. SIGTERM arrives within the one after `stop_at`."""
    run, world = Path(folder) / "run", small.join()
    train = {"steps": 8, "evaluate_every_steps": 2}
    recipe = recipe_of(f"{folder}/dataset", run, train=train, checkpoint={"every_steps": 5})
    run.mkdir(exist_ok=True)
    write_recipe(recipe, run / "recipe.toml")
    request = stop.StopRequest()
    trainer = Trainer(run, recipe, world, request)
    held_out = trainer.evaluator.held_out[0]  # of the only corpus
    steps = held_out.steps

    def interrupted() -> Any:
        for number, one in enumerate(steps()):
            if number == 1 and trainer.evaluated_step == stop_at and not resume:  # type: ignore[attr-defined]
                signal.raise_signal(signal.SIGTERM)
            yield one

    evaluate = trainer.evaluator.evaluate

    def noting(step: int, *arguments: Any) -> Any:
        vars(trainer)["evaluated_step"] = step
        return evaluate(step, *arguments)

    vars(held_out)["steps"] = interrupted
    vars(trainer.evaluator)["evaluate"] = noting
    done = trainer.train("auto")
    found = checkpoints.find_checkpoint(run)
    assert found
    evaluated = [record["step"] for record in read_metrics(run) if "valid_mlm_loss" in record]
    return [done, checkpoints.read_state(found).step, evaluated]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [4, 8])
def test_a_stop_in_an_evaluation_saves_and_is_made_up(tmp_path: Path, stop_at: int) -> None:
    write_dataset(tmp_path / "dataset", [[400]], [64], vocabulary_size=120)
    before = [step for step in (2, 4, 6, 8) if step < stop_at]
    assert ranks.run(_train, 1, str(tmp_path), stop_at, False)[0] == [False, stop_at, before]
    assert ranks.run(_train, 1, str(tmp_path), stop_at, True)[0] == [True, 8, [2, 4, 6, 8]]
