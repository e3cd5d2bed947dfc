"""Fragments in one process; tests with several ranks are in tests/distributed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from pretrain.engine.distributed import World
from pretrain.engine.optimizers import make_adamw
from pretrain.engine.partition import KINDS, Fragment, replicated
from tests.distributed import small
from tests.distributed.small import OPTIMIZER


def test_narrowed_fragment_is_a_view_with_its_offset() -> None:
    whole = Fragment("w", 10, *(torch.arange(6.0) + 10 * index for index in range(3)))
    part = whole.narrow(2, 3)
    assert (part.name, part.offset, part.numel) == ("w", 12, 3)
    assert [getattr(part, kind).tolist() for kind in KINDS] == [[2, 3, 4], [12, 13, 14], [22, 23, 24]]
    part.exp_avg.zero_()
    assert whole.exp_avg.tolist() == [10, 11, 0, 0, 0, 15]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(1, 9))
def test_at_stage_0_every_element_is_saved_once(sizes: list[int], world_size: int) -> None:
    model = nn.ParameterDict({f"p{index}": nn.Parameter(torch.zeros(size)) for index, size in enumerate(sizes)})
    adam = make_adamw([{"params": list(model.values())}], OPTIMIZER)
    saved: dict[str, list[int]] = {name: [] for name in model}
    for rank in range(world_size):
        partition = replicated(dict(model), adam, lambda: None, World(rank=rank, world_size=world_size))
        assert [fragment.numel for fragment in partition.fragments] == sizes
        for fragment in partition.saved:
            assert fragment.numel > 0
            saved[fragment.name] += range(fragment.offset, fragment.offset + fragment.numel)
    assert saved == {f"p{index}": list(range(size)) for index, size in enumerate(sizes)}


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (0, "bf16"), (1, "fp32"), (1, "bf16"), (2, "bf16")])
def test_fragments_are_views_of_optimizer_tensors_and_refresh_updates_the_model(
    alone: World, stage: int, precision: str
) -> None:
    engine = small.engine_of(alone, stage, precision)
    small.train_step(engine, 1)
    assert all(fragment.exp_avg_sq.sum() > 0 for fragment in engine.partition.fragments)
    for fragment in engine.partition.fragments:
        fragment.master.fill_(0.1)
    engine.partition.refresh()
    for parameter in engine.module.parameters():
        assert torch.equal(parameter, torch.full_like(parameter, 0.1))
