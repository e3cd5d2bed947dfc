"""A training step on a GPU does not make the host wait, and is bit-identical for the same seed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

import pytest
import torch

from configs.schema import ClusterConfig, OptimizerConfig, TrainConfig
from pretrain.engine import distributed
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from pretrain.engine.losses import LossSums
from tests.pretrain.batches import random_batch
from tests.pretrain.test_synchronisation import ROWS, VOCABULARY, WAITS, small_bert

# In a process of its own: DeepSpeed has one device a process, and other tests give it the CPU.
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


# cuBLAS reads it at the first product; without it, products may differ in their last bits from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="module")
def on_gpu() -> Iterator[World]:
    yield distributed.join_process_group(ClusterConfig(device="cuda"))
    distributed.leave_process_group()


@pytest.fixture(autouse=True)
def sync_debug_mode() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("stage", [0, 1, 2])  # at stage 3 DeepSpeed waits at the end of each backward
def test_host_does_not_wait_for_the_gpu(on_gpu: World, stage: int, optimizer: str) -> None:
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
    # The reads that `test_synchronisation.py` counts, and the losses.
    assert len(waits) <= WAITS[stage][1] + 1, [str(wait.message) for wait in waits]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_same_seed_gives_bit_identical_results(on_gpu: World, stage: int) -> None:
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
