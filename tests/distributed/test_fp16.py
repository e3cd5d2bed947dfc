"""Test fp16 and its loss scale at ZeRO stages 1 to 3 in two ranks.

The engine refuses fp16 on a CPU because it is slow there. These tests bypass that check.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.schema import TrainConfig
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.state import TrainingState
from pretrain.engine import engine
from pretrain.engine.deepspeed_setup import import_deepspeed
from pretrain.engine.engine import Engine
from tests.distributed import ranks, small

CASES = [(name, stage) for name in ("adamw", "lamb") for stage in (1, 2, 3)]


def train(folder: str) -> dict[str, Any]:
    """Train ten steps of each case in both precisions; with fp16, then a step with too large a scale, and a resume."""
    world = small.join()
    engine._check_precision = lambda *_: None
    import_deepspeed(world)
    from deepspeed.accelerator import get_accelerator

    type(get_accelerator()).is_fp16_supported = lambda _: True
    results: dict[str, Any] = {}
    for name, stage in CASES:
        optimizer = small.OPTIMIZER.model_copy(update={"name": name})
        fp32, fp16, resumed = (
            Engine(
                small.build(), optimizer, TrainConfig.model_validate({"zero_stage": stage, "precision": kind}), world
            )
            for kind in ("fp32", "fp16", "fp16")
        )
        case = f"{name} {stage}"
        results[f"fp32 {case}"] = small.losses_of(fp32, range(1, 11))
        results[f"fp16 {case}"] = small.losses_of(fp16, range(1, 11))
        fp16.set_loss_scale(2.0**30)
        results[f"scales {case}"] = [small.train_step(fp16, 11)[1].loss_scale, fp16.loss_scale, fp16.optimizer_steps]
        fp16.set_loss_scale(2.0**10)
        run = Path(folder, case)
        saved = checkpoints.save_checkpoint(run, fp16, TrainingState(step=11, cursor=0), keep=1)
        assert saved
        checkpoints.load_checkpoint(saved, resumed)
        for key, one in (("on", fp16), ("resumed", resumed)):
            loss, result = small.train_step(one, 12)
            results[f"{key} {case}"] = [loss, result.grad_norm, result.loss_scale]
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rank 0's results."""
    made: dict[str, Any] = ranks.run(train, 2, str(tmp_path_factory.mktemp("runs")), quiet=True, timeout_s=300)[0]
    return made


@pytest.mark.parametrize(("name", "stage"), CASES)
class TestEveryCase:
    def test_losses_are_close_to_fp32(self, results: dict[str, Any], name: str, stage: int) -> None:
        case = f"{name} {stage}"
        assert results[f"fp16 {case}"] == pytest.approx(results[f"fp32 {case}"], rel=1e-2)
        assert results[f"fp16 {case}"] != results[f"fp32 {case}"]

    def test_overflow_skips_the_step_and_halves_the_scale(self, results: dict[str, Any], name: str, stage: int) -> None:
        assert results[f"scales {name} {stage}"] == [2.0**30, 2.0**29, 10]

    def test_resume_restores_the_scale(self, results: dict[str, Any], name: str, stage: int) -> None:
        resumed = results[f"resumed {name} {stage}"]
        assert resumed == results[f"on {name} {stage}"]
        assert resumed[2] == 2.0**10
