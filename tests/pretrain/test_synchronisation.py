"""The host does not wait for the GPU: not in forward and backward, and elsewhere in a step only to read two numbers.

These tests verify that without a GPU, in two ways (`test_on_the_gpu.py` uses one). On the meta device tensors have no
contents, and every read raises. In DeepSpeed's part, every operation that copies a number to the host is recorded.
"""

from __future__ import annotations

from collections import Counter
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


# By ZeRO stage, in a step of two micro-batches: how often DeepSpeed synchronises the device; how many values the host
# reads, waiting for each; and how many numbers it copies to the device, without waiting.
WAITS = {0: (0, 1, 0), 1: (0, 1, 0), 2: (0, 4, 2), 3: (0, 1, 2)}


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_host_waits_only_for_these_reads(alone: World, stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train = TrainConfig.model_validate({"zero_stage": stage, "precision": "bf16", "global_batch_size": 2})
    engine = Engine(Layers(), OptimizerConfig(), train, alone)
    noted: Counter[str] = Counter()
    note_waits(noted, monkeypatch)
    train_step(engine)  # stage 3 first compares its plan between ranks
    for step in range(1, 6):  # DeepSpeed's timers would begin at the third step
        noted.clear()
        passes, update = train_step(engine)
        assert passes == []
        assert update[-1] == "_fused_adamw_"
        reads = len([name for name in update if name in READING])
        assert (noted["synchronised"], reads, noted["copied"]) == WAITS[stage], f"step {step + 1}"


def train_step(engine: Engine) -> tuple[list[str], list[str]]:
    """Train a step of two micro-batches; return what `Readings` recorded in its passes and in its update."""
    with Readings() as passes:
        for last in (False, True):
            (loss,) = engine.forward(torch.ones(1, 16, dtype=torch.bfloat16))
            engine.backward(loss, last=last)
    with Readings() as update:
        assert not engine.step(1e-4).skipped
    return passes.noted, update.noted


def note_waits(noted: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Count DeepSpeed's synchronisations of the device, and the numbers that are made on it from the host's."""
    from deepspeed.accelerator import get_accelerator

    make = torch.tensor

    def make_tensor(data: Any, **options: Any) -> Tensor:
        if options.get("device") is not None and not isinstance(data, Tensor):
            noted["copied"] += 1
        return make(data, **options)

    monkeypatch.setattr(torch, "tensor", make_tensor)
    monkeypatch.setattr(type(get_accelerator()), "synchronize", lambda *_: noted.update(["synchronised"]))
