"""AdamW from bf16 gradients to bf16 weights, compared with torch's on the same numbers in fp32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from configs.schema import OptimizerConfig
from pretrain.engine.optimizers import MOMENTS, make_adamw
from pretrain.engine.optimizers.master_adamw import MasterAdamW

OPTIMIZER = OptimizerConfig()
SHAPES = [(7, 5), (1,), (130, 3), (0, 4)]


def groups_of(tensors: list[Tensor]) -> list[dict[str, Any]]:
    return [{"params": tensors[:2], "weight_decay": 0.1}, {"params": tensors[2:], "weight_decay": 0.0}]


def masters_of(seed: int) -> list[Tensor]:
    torch.manual_seed(seed)
    masters = [torch.randn(shape).requires_grad_() for shape in SHAPES]
    for master in masters:
        master.grad_dtype = None
    return masters


@given(seed=st.integers(0, 1 << 16), scale=st.sampled_from([1.0, 0.03]), threads=st.sampled_from([1, 3]))
def test_steps_equal_torchs(seed: int, scale: float, threads: int) -> None:
    ours, theirs = masters_of(seed), masters_of(seed)
    adam, reference = MasterAdamW(groups_of(ours), OPTIMIZER), make_adamw(groups_of(theirs), OPTIMIZER)
    adam.weights = {master: master.detach().bfloat16() for master in ours}
    adam.scale = scale
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for step in (1, 2, 3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape).bfloat16()
            other.grad = mine.grad.float() * scale
        for group in (*adam.param_groups, *reference.param_groups):
            group |= {"lr": 0.02 * step, "step": step}
        adam.step()
        reference.step()
    torch.set_num_threads(before)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=2e-6)
        assert torch.equal(adam.weights[mine], mine.bfloat16())
        assert adam.state[mine]["step"] == 3
        for name in MOMENTS:
            torch.testing.assert_close(adam.state[mine][name], reference.state[other][name], rtol=2e-6, atol=5e-8)


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_fp32_gradients_use_torchs_step(scale: float) -> None:
    ours, theirs = masters_of(1), masters_of(1)
    adam, reference = MasterAdamW(groups_of(ours), OPTIMIZER), make_adamw(groups_of(theirs), OPTIMIZER)
    adam.weights = {master: master.detach().bfloat16() for master in ours}
    adam.scale = scale
    for mine, other in zip(ours, theirs, strict=True):
        mine.grad = torch.randn(mine.shape)
        other.grad = mine.grad * scale
    for group in (*adam.param_groups, *reference.param_groups):
        group |= {"lr": 0.02, "step": 1}
    adam.step()
    reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine, other)
        assert torch.equal(adam.weights[mine], mine.bfloat16())
