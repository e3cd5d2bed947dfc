"""The host does not wait for the GPU: not in forward and backward, and elsewhere in a step only to read two numbers.

These tests verify that without a GPU, in two ways (`test_on_the_gpu.py` uses one). On the meta device tensors have no
contents, and every read raises. In DeepSpeed's part, every operation that copies a number to the host is recorded.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from configs.schema import ModelConfig, OptimizerConfig, TrainConfig
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from pretrain.model.pretraining import BertForPreTraining
from tests.pretrain.batches import random_batch

VOCABULARY, ROWS = 500, 12
READING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2"}


def small_bert(**changes: Any) -> BertForPreTraining:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    return BertForPreTraining(ModelConfig.model_validate(sizes | changes), VOCABULARY, "nsp")


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_forward_and_backward_do_not_read_values(norm: str, recomputes: bool) -> None:
    model, batch = small_bert(norm=norm), random_batch(1, ROWS, vocabulary_size=VOCABULARY)
    model.bert.checkpoint_activations = recomputes
    mlm_loss, nsp_loss, *_ = model.to("meta")(batch.to(torch.device("meta")))
    (mlm_loss + nsp_loss).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("read", [Tensor.item, Tensor.tolist, Tensor.nonzero, Tensor.cpu, bool, lambda t: t[t > 0]])
def test_meta_device_raises_on_reads(read: Any) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.ones(1, device="meta"))


class Readings(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Records reads of values by the host, and the optimizer's updates."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # neither here
        self.noted: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.removeprefix("aten::")
        if name in READING or name == "_fused_adamw_":
            self.noted.append(name)
        return function(*args, **kwargs or {})


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, hidden: Tensor) -> tuple[Tensor]:
        return (self.layers(hidden).float().square().sum(),)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_update_does_not_read_values(alone: World, stage: int) -> None:
    train = TrainConfig.model_validate({"zero_stage": stage, "precision": "bf16", "global_batch_size": 2})
    engine = Engine(Layers(), OptimizerConfig(), train, alone)
    for _ in range(2):
        with Readings() as passes:
            for last in (False, True):
                (loss,) = engine.forward(torch.ones(1, 16, dtype=torch.bfloat16))
                engine.backward(loss, last=last)
        with Readings() as update:
            assert not engine.step(1e-4).skipped
    assert passes.noted == []
    assert update.noted[-1] == "_fused_adamw_"
    # The overflow check, the norm, and, at stages 2 and 3, the norm once more for each group that is clipped by it.
    assert 1 <= len([name for name in update.noted if name in READING]) <= 4
