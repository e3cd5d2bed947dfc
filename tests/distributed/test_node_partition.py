"""`train.node_partition`: two nodes of two ranks gather weights within the node, and train as without it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from configs.schema import TrainConfig
from pretrain.cost import traffic
from pretrain.engine import Engine, World
from pretrain.engine.engine import StepResult
from tests.benchmarks.traffic import Traffic
from tests.distributed import ranks, small

pytestmark = pytest.mark.slow

RANKS, PER_NODE, MICRO_STEPS, STEPS = 4, 2, 2, 4


def train_of(node_partition: bool, precision: str = "bf16") -> TrainConfig:
    fields = {"zero_stage": 3, "precision": precision, "micro_batch_size": 1, "node_partition": node_partition}
    return TrainConfig.model_validate(fields)


def engine_of(world: World, node_partition: bool) -> Engine:
    return Engine(small.build(), small.OPTIMIZER, train_of(node_partition), world)


def train_on_two_nodes() -> list[dict[str, Any]]:
    """Train without and with the nodes' own partitions; the last step is repeated from saved weights."""
    world = small.join()
    world = replace(world, local_rank=world.rank % PER_NODE, local_world_size=PER_NODE)
    found = []
    for node_partition in (False, True):
        engine = engine_of(world, node_partition)
        losses = [small.train_step(engine, step, MICRO_STEPS)[0] for step in range(1, STEPS)]
        saved = [fragment.master.clone() for fragment in engine.partition.fragments]
        with Traffic() as counted:
            losses.append(small.train_step(engine, STEPS, MICRO_STEPS)[0])
        # After a skipped step, the partitions in the nodes are still there. Loaded weights must replace them.
        skipped = small.train_step(engine, STEPS, MICRO_STEPS, skip=True)[1]
        assert isinstance(skipped, StepResult)
        assert skipped.skipped
        for fragment, master in zip(engine.partition.fragments, saved, strict=True):
            fragment.master.copy_(master)
        engine.partition.refresh()
        losses.append(small.train_step(engine, STEPS, MICRO_STEPS)[0])
        found.append({"losses": losses, "sent": counted.sent_bytes(RANKS), "in_node": counted.sent_bytes(PER_NODE)})
    return found


@pytest.fixture(scope="module")
def trained() -> list[dict[str, Any]]:
    first, *others = ranks.run(train_on_two_nodes, RANKS, timeout_s=300)
    assert others == [first] * (RANKS - 1)
    result: list[dict[str, Any]] = first
    return result


def test_losses_are_the_same_to_the_bit(trained: list[dict[str, Any]]) -> None:
    plain, in_nodes = trained
    assert in_nodes["losses"] == plain["losses"]


def test_weights_that_are_loaded_replace_the_partitions_in_nodes(trained: list[dict[str, Any]]) -> None:
    for one in trained:
        assert one["losses"][-1] == one["losses"][-2]


def test_only_the_first_gather_of_a_step_crosses_nodes_as_planned(trained: list[dict[str, Any]]) -> None:
    plain, in_nodes = trained
    matrices = sum(parameter.numel() for parameter in small.build().parameters() if parameter.dim() > 1)
    gather = 2 * matrices * (RANKS - 1) / RANKS  # bytes of all matrices in bf16; DeepSpeed keeps vectors on every rank
    assert plain["in_node"] == 0
    assert plain["sent"] - in_nodes["sent"] == pytest.approx((MICRO_STEPS - 1) * gather, rel=0.1)
    planned = traffic.sent_in_node_bytes(train_of(True), matrices, PER_NODE, MICRO_STEPS)
    assert in_nodes["in_node"] == pytest.approx(planned, rel=0.1)
    assert math.isclose(traffic.sent_in_node_bytes(train_of(False), matrices, PER_NODE, MICRO_STEPS), 0.0)
