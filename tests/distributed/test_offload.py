"""The optimizer in host memory (ZeRO-Offload), in two ranks, makes the same update as without offloading.

Without a GPU both are in the same memory, so the tests cover DeepSpeed's offload path of gradients and updates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from configs.recipe import load_recipe
from configs.schema import TrainConfig
from pretrain import checkpoint as checkpoints
from pretrain.checkpoint.state import TrainingState
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from tests.distributed import ranks, small

CASES = [(stage, precision) for stage in (1, 2, 3) for precision in ("fp32", "bf16")]
TOLERANCE = {"fp32": 1e-6, "bf16": 1e-2}


def train(folder: str) -> dict[str, Any]:
    """Train eight steps of each case, every third with two micro-steps; then a skipped step, and one after a resume."""
    world = small.join()
    results: dict[str, Any] = {}
    for stage, precision in CASES:
        case = f"{stage} {precision}"
        plain, offloaded = (engine_of(world, stage, precision, offload) for offload in (False, True))
        for key, engine in (("plain", plain), ("offloaded", offloaded)):
            steps = [small.train_step(engine, step, 1 + (step % 3 == 0)) for step in range(1, 9)]
            results[f"{key} {case}"] = [number for loss, result in steps for number in (loss, result.grad_norm)]
        results[f"lost {case}"] = small.train_step(offloaded, 9, spoil=world.rank == 1)[1].skipped
        saved = checkpoints.save_checkpoint(Path(folder, case), offloaded, TrainingState(step=9, cursor=0), keep=1)
        assert saved
        checkpoints.load_checkpoint(saved, plain)
        results[f"resumed {case}"] = small.train_step(plain, 10)[0]
        results[f"on {case}"] = small.train_step(offloaded, 10)[0]
    return results


def engine_of(world: World, stage: int, precision: str, offload: bool) -> Engine:
    settings = {"zero_stage": stage, "precision": precision, "offload_optimizer": offload}
    return Engine(small.build(), small.OPTIMIZER, TrainConfig.model_validate(settings), world)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Rank 0's results."""
    made: dict[str, Any] = ranks.run(train, 2, str(tmp_path_factory.mktemp("runs")), quiet=True, timeout_s=300)[0]
    return made


@pytest.mark.parametrize(("stage", "precision"), CASES)
def test_losses_norms_and_resume_equal_those_without_offload(
    results: dict[str, Any], stage: int, precision: str
) -> None:
    case = f"{stage} {precision}"
    assert results[f"offloaded {case}"] == pytest.approx(results[f"plain {case}"], rel=TOLERANCE[precision])
    assert results[f"lost {case}"] is True
    assert results[f"on {case}"] == pytest.approx(results[f"resumed {case}"], rel=TOLERANCE[precision])


@pytest.mark.parametrize("fields", [["train.zero_stage=0"], ["train.zero_stage=2", "optimizer.name=lamb"]])
def test_unsupported_offload_is_refused(fields: list[str]) -> None:
    with pytest.raises(UserError, match="offload_optimizer"):
        load_recipe("demo", ["train.offload_optimizer=true", *fields])
