"""What two ranks send in a step and when, counted at torch's collectives and compared with the plan per ZeRO stage."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from configs.recipe import load_recipe
from configs.schema import ClusterConfig, OptimizerConfig, TrainConfig
from pretrain.cost import HARDWARE, Cost
from pretrain.engine import buffers
from pretrain.engine.distributed import join_process_group
from pretrain.engine.engine import Engine
from tests.benchmarks.traffic import Traffic
from tests.distributed import ranks

STAGES, MICRO_STEPS, REDUCTIONS = (0, 1, 2, 3), (1, 2), ("fp32", "bf16")
WIDTH, LAYERS = 128, 6
WEIGHTS = LAYERS * WIDTH * (WIDTH + 1)


class Stack(nn.Module):
    """Layers that record how much was sent when the gradient reached the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
        self.traffic = Traffic()
        self.sent_early = 0

    def forward(self, hidden: Tensor) -> tuple[Tensor]:
        first, *others = self.layers
        hidden = first(hidden)
        hidden.register_hook(self._arrived)  # type: ignore[no-untyped-call]  # torch has no types
        for layer in others:
            hidden = layer(hidden)
        return (hidden.float().square().sum(),)

    def _arrived(self, gradient: Tensor) -> None:
        self.sent_early = self.traffic.bytes["all_reduce"] + self.traffic.bytes["reduce_scatter"]


def count_all() -> dict[str, dict[str, Any]]:
    world = join_process_group(ClusterConfig(device="cpu", cpu_threads=1))
    buffers.BUCKET_ELEMENTS = WEIGHTS // 3
    counted = {}
    for stage, reduction in itertools.product(STAGES, REDUCTIONS):
        torch.manual_seed(0)
        model = Stack()
        fields = {"zero_stage": stage, "precision": "bf16", "gradient_reduction": reduction, "global_batch_size": 2}
        train = TrainConfig.model_validate(fields)
        engine_of_stage = Engine(model, OptimizerConfig(), train, world)
        for micro_steps in (1, *MICRO_STEPS):  # the first step allocates what the later steps reuse
            with Traffic() as model.traffic:
                for micro_step in range(micro_steps):
                    (loss,) = engine_of_stage.forward(torch.ones(1, WIDTH, dtype=torch.bfloat16))
                    engine_of_stage.backward(loss, last=micro_step == micro_steps - 1)
                assert not engine_of_stage.step(1e-4).skipped
            sent = model.traffic.sent_bytes(world.world_size)
            counted[f"{stage} {micro_steps} {reduction}"] = {
                "sent": sent,
                "early": model.sent_early,
                "kinds": model.traffic.bytes,
            }
    return counted


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, Any]]:
    first, second = ranks.run(count_all, 2, timeout_s=300)
    assert first == second
    result: dict[str, dict[str, Any]] = first
    return result


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("micro_steps", MICRO_STEPS)
@pytest.mark.parametrize("stage", STAGES)
def test_ranks_send_the_planned_bytes(
    counted: dict[str, dict[str, Any]], stage: int, micro_steps: int, reduction: str
) -> None:
    fields = ["train.precision=bf16", f"train.zero_stage={stage}", f"train.gradient_reduction={reduction}"]
    recipe = load_recipe("demo", fields)
    planned = Cost(recipe, HARDWARE["cpu"], vocabulary_size=4096)
    a_weight = planned.sent_bytes(2, micro_steps) / planned.parameters
    assert counted[f"{stage} {micro_steps} {reduction}"]["sent"] / WEIGHTS == pytest.approx(a_weight, rel=0.02)


def test_buckets_are_reduced_while_the_backward_runs(counted: dict[str, dict[str, Any]]) -> None:
    early = {stage: counted[f"{stage} 1 bf16"]["early"] for stage in STAGES}
    assert early[0] == early[1] == 0  # once per step, after the last micro-step's backward
    assert min(early[2], early[3]) >= 2 * WEIGHTS / 3
