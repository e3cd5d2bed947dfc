"""The bytes per weight that pretrain.cost plans equal those that the engine holds."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor, nn

from configs.recipe import load_recipe
from configs.schema import ClusterConfig, OptimizerConfig, TrainConfig
from pretrain.cost import HARDWARE, Cost
from pretrain.engine.distributed import join_process_group
from pretrain.engine.engine import Engine
from tests.distributed import ranks

pytestmark = pytest.mark.slow
WIDTH, LAYERS = 512, 16
# Bytes per weight that exist only during the backward, outside this measurement: two buckets of all weights.
INSIDE_BACKWARD = {(2, "bf16"): 2 * 2, (2, "fp32"): 2 * 4}


class Stack(nn.Module):
    """A model with many weights and almost no activations."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))

    def forward(self, row: Tensor) -> tuple[Tensor]:
        return (self.layers(row).float().square().sum(),)


def peak_bytes_a_weight(stage: int, precision: str) -> float:
    world = join_process_group(ClusterConfig(device="cpu", cpu_threads=1))
    model = Stack()
    weights = sum(parameter.numel() for parameter in model.parameters())
    train = TrainConfig.model_validate({"zero_stage": stage, "precision": precision, "global_batch_size": 2})
    engine = Engine(model, OptimizerConfig(), train, world)
    del model
    row = torch.ones(1, WIDTH, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    peak = 0
    for _ in range(3):
        for last in (False, True):
            engine.backward(engine.forward(row)[0] * 1e-6, last=last)
            peak = max(peak, live_bytes())
        engine.step(1e-4)
    return peak / weights


def live_bytes() -> int:
    """Return the bytes of all live tensors, including gradients, counting each storage once."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) in (Tensor, nn.Parameter)]
    tensors += [one.grad for one in tensors if one.is_leaf and one.grad is not None]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_engine_holds_the_planned_bytes(stage: int, precision: str) -> None:
    planned = Cost(load_recipe("demo", [f"train.precision={precision}"]), HARDWARE["cpu"], vocabulary_size=4096)
    held = ranks.run(peak_bytes_a_weight, 2, stage, precision)
    expected = planned.state_bytes(stage, 2) - INSIDE_BACKWARD.get((stage, precision), 0)
    assert held == pytest.approx([expected] * 2, rel=0.05)
