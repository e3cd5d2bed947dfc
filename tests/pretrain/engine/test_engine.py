"""The engine in one process; tests with two ranks are in tests/distributed/test_training.py."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from configs.errors import UserError
from configs.schema import OptimizerConfig, TrainConfig
from pretrain.engine.buffers import BUCKET_ELEMENTS
from pretrain.engine.deepspeed_setup import deepspeed_config
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from tests.distributed import small
from tests.distributed.small import OPTIMIZER


def config_of(stage: int, precision: str, world_size: int = 1) -> dict[str, object]:
    train = TrainConfig.model_validate({"zero_stage": stage, "precision": precision, "micro_batch_size": 7})
    return deepspeed_config(small.build(), OPTIMIZER, train, World(world_size=world_size))


def test_bf16_accumulates_in_fp32() -> None:
    assert config_of(2, "bf16") == {
        "train_micro_batch_size_per_gpu": 7,
        "gradient_accumulation_steps": 1,
        "communication_data_type": "fp32",
        "gradient_clipping": 1.0,
        "zero_allow_untested_optimizer": False,
        "zero_optimization": {
            "stage": 2,
            "reduce_bucket_size": sum(parameter.numel() for parameter in small.build().parameters()),
            "stage3_param_persistence_threshold": 3 * small.WIDTH,  # the largest bias
        },
        "timers": {"throughput": {"enabled": False}},  # it would synchronise the GPU
        "bf16": {"enabled": True, "immediate_grad_update": True},
        "data_types": {"grad_accum_dtype": "fp32"},
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stage_0_does_not_use_deepspeeds_precision_and_clipping(precision: str) -> None:
    config = config_of(0, precision)
    assert "bf16" not in config
    assert config["gradient_clipping"] == 0.0


def test_fp16_needs_a_gpu_and_stage_1(alone: World) -> None:
    with pytest.raises(UserError, match="fp16 training needs a GPU"):
        small.engine_of(alone, 1, "fp16")
    with pytest.raises(ValidationError, match="needs zero_stage 1 or above"):
        TrainConfig(zero_stage=0, precision="fp16")


def test_reduction_overlaps_the_backward_with_several_ranks() -> None:
    for stage, expected in ((0, (None, None)), (1, (None, None)), (2, (True, False)), (3, (None, None))):
        zero = config_of(stage, "bf16", world_size=2)["zero_optimization"]
        assert isinstance(zero, dict)
        assert (zero.get("overlap_comm"), zero.get("reduce_scatter")) == expected


def test_bucket_size_is_limited() -> None:
    with torch.device("meta"):
        large = nn.Linear(BUCKET_ELEMENTS, 2)
    config = deepspeed_config(large, OPTIMIZER, TrainConfig(), World())
    assert config["zero_optimization"]["reduce_bucket_size"] == BUCKET_ELEMENTS


@pytest.mark.parametrize("stage", [0, 1])
def test_masters_start_from_the_exact_fp32_weights(alone: World, stage: int) -> None:
    engine = small.engine_of(alone, stage, "bf16")
    exact = dict(small.build().named_parameters())
    assert {fragment.name for fragment in engine.partition.fragments} == exact.keys()
    for fragment in engine.partition.fragments:
        assert fragment.master.dtype == torch.float32
        assert torch.equal(fragment.master, exact[fragment.name].flatten())
    for name, parameter in engine.module.named_parameters():
        assert torch.equal(parameter, exact[name].bfloat16())


@pytest.mark.parametrize("stage", [0, 1])
def test_grad_norm_is_before_clipping_and_0_disables_clipping(alone: World, stage: int) -> None:
    norms, weights = [], []
    for clipping in (0.0, 0.5, 1e9):
        train = TrainConfig.model_validate({"zero_stage": stage, "precision": "fp32"})
        optimizer = OPTIMIZER.model_copy(update={"gradient_clipping": clipping})
        engine = Engine(small.build(), optimizer, train, alone)
        for step in (1, 2):
            _, result = small.train_step(engine, step)
        norms.append(result.grad_norm)
        weights.append(torch.cat([fragment.master for fragment in engine.partition.fragments]))
    assert norms[0] == norms[2] > 0.5
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[1])


@pytest.mark.parametrize("stage", [0, 1])
def test_skipped_step_changes_nothing(
    alone: World, stage: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = small.engine_of(alone, stage, "fp32")
    with caplog.at_level(logging.WARNING):
        _, result = small.train_step(engine, 1, spoil=True)
    assert result.skipped
    assert math.isinf(result.grad_norm)
    assert engine.optimizer_steps == 0
    _, result = small.train_step(engine, 2)
    assert not result.skipped
    assert engine.optimizer_steps == 1
    assert caplog.messages == []  # the trainer reports it, in more detail than DeepSpeed
    assert capfd.readouterr() == ("", "")


def test_step_uses_the_given_learning_rate(alone: World) -> None:
    """AdamW's first step changes a weight by the learning rate if its gradient is far above eps."""
    optimizer = OptimizerConfig(weight_decay=0.0, gradient_clipping=0.0, eps=1e-12)
    engine = Engine(small.build(), optimizer, TrainConfig.model_validate({"precision": "fp32"}), alone)
    before = torch.cat([fragment.master.clone() for fragment in engine.partition.fragments])
    whole = small.rows_of(1)
    engine.backward(small.share_of_loss(engine.forward(whole), whole), last=True)
    engine.step(0.25)
    moved = (torch.cat([fragment.master for fragment in engine.partition.fragments]) - before).abs()
    assert moved.max().item() == pytest.approx(0.25, rel=1e-4)


def test_evaluation_does_not_change_gradients_or_weights(alone: World) -> None:
    evaluated, other = small.engine_of(alone, 1, "fp32"), small.engine_of(alone, 1, "fp32")
    for step in (1, 2):
        with torch.no_grad():
            evaluated.module.eval()
            losses = evaluated.module(small.rows_of(9))
            evaluated.module.train()
        assert not losses[0].requires_grad
        assert small.train_step(evaluated, step) == small.train_step(other, step)
