"""The host does not wait for the GPU: not in forward and backward, and elsewhere in a step only to read two numbers.

On a machine without a GPU that is shown in two ways. On the meta device tensors have no contents, and whatever would
read one raises; and of DeepSpeed's part every operation that hands a number to the host is noted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from configs.schema import ClusterConfig, ModelConfig, OptimizerConfig, TrainConfig
from pretrain import distributed
from pretrain.distributed import World
from pretrain.engine import Engine
from pretrain.losses import LossSums
from pretrain.model import BertForPreTraining
from tests.pretrain.batches import random_batch

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
VOCABULARY, ROWS = 500, 12
READING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2"}


def small_bert(**changes: Any) -> BertForPreTraining:
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    torch.manual_seed(0)
    return BertForPreTraining(ModelConfig.model_validate(sizes | changes), VOCABULARY)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_forward_and_backward_read_nothing(norm: str, recomputes: bool) -> None:
    model, batch = small_bert(norm=norm), random_batch(1, ROWS, vocabulary_size=VOCABULARY)
    model.bert.checkpoint_activations = recomputes
    mlm_loss, nsp_loss, *_ = model.to("meta")(batch.to(torch.device("meta")))
    (mlm_loss + nsp_loss).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("read", [Tensor.item, Tensor.tolist, Tensor.nonzero, Tensor.cpu, bool, lambda t: t[t > 0]])
def test_the_meta_device_would_notice(read: Any) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.ones(1, device="meta"))


class Readings(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types
    """Notes what hands a number to the host, and the optimizer's updates."""

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
def test_of_an_update_nothing_is_read(alone: World, stage: int) -> None:
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


@pytest.fixture
def on_gpu() -> Iterator[World]:
    yield distributed.start(ClusterConfig(device="cuda"))
    torch.cuda.set_sync_debug_mode("default")
    distributed.stop()


@needs_a_gpu
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_gpu_is_not_waited_for(on_gpu: World, stage: int, optimizer: str) -> None:
    train = TrainConfig.model_validate({"zero_stage": stage, "global_batch_size": 2 * ROWS})
    engine = Engine(small_bert(), OptimizerConfig.model_validate({"name": optimizer}), train, on_gpu)
    host_batch = random_batch(1, ROWS, vocabulary_size=VOCABULARY)
    for mode in ("default", "default", "error"):  # the first step compiles and makes what the others only use
        sums = LossSums(on_gpu.device, "nsp")
        torch.cuda.set_sync_debug_mode(mode)
        for last in (False, True):
            outputs = engine.forward(host_batch.to(on_gpu.device))
            sums.add(outputs)
            engine.backward((outputs[0] + outputs[1]) / 100, last=last)
        sums.send()
        torch.cuda.set_sync_debug_mode("warn" if mode == "error" else "default")
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            assert not engine.step(1e-4).skipped
            sums.over_all_ranks(1, 1)
    assert len(waits) <= 3, [str(wait.message) for wait in waits]


@needs_a_gpu
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_same_seed_gives_the_same_bits(on_gpu: World, stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        assert losses(on_gpu, stage) == losses(on_gpu, stage)
    finally:
        torch.use_deterministic_algorithms(False)


def losses(world: World, stage: int) -> list[float]:
    train = TrainConfig.model_validate({"zero_stage": stage, "global_batch_size": ROWS})
    engine = Engine(small_bert(), OptimizerConfig(warmup_steps=0), train, world)
    history = []
    for step in range(1, 11):
        torch.manual_seed(step)
        outputs = engine.forward(random_batch(step, ROWS, vocabulary_size=VOCABULARY).to(world.device))
        loss = (outputs[0] + outputs[1]) / 100
        engine.backward(loss, last=True)
        engine.step(1e-3)
        history.append(float(loss.detach()))
    return history
