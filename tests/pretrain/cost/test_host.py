"""The host's part of a step: its share in the planned time."""

from __future__ import annotations

import dataclasses

import pytest

from configs.recipe import load_recipe
from pretrain.cost import HARDWARE, Cost, host_s
from pretrain.cost.host import LAUNCH_US, MICRO_STEP, OTHER_LAYERS, STEP

SMALL = ["train.global_batch_size=64", "train.micro_batch_size=8"]


def base(*overrides: str, hardware: str = "h100", cpu_speed: float = 1.0) -> Cost:
    device = dataclasses.replace(HARDWARE[hardware], cpu_speed=cpu_speed)
    return Cost(load_recipe("base_phase1", overrides), device, vocabulary_size=30_522)


def test_small_micro_batches_take_the_hosts_time() -> None:
    cost = base(*SMALL)
    micro_s, step_s = host_s(12, 1)
    assert 8 * cost.row.seconds < micro_s / 5
    assert cost.step(8).compute_s == pytest.approx(micro_s + step_s)
    assert cost.step(2).host_s == pytest.approx(4 * micro_s + step_s)
    assert base(*SMALL, cpu_speed=2.0).step(8).compute_s == pytest.approx((micro_s + step_s) / 2)


def test_large_micro_batches_take_the_devices_time() -> None:
    cost = base("train.global_batch_size=512", "train.micro_batch_size=512")
    step = cost.step(1)
    assert step.host_s < step.compute_s
    micro_s, step_s = host_s(12, 0)
    assert micro_s < 512 * cost.row.seconds
    assert step.compute_s == pytest.approx(512 * cost.row.seconds + step_s)


def test_time_on_a_cpu_includes_the_host() -> None:
    assert base(*SMALL, hardware="cpu").step(2).host_s == 0.0


def test_host_time_grows_with_depth_and_depends_on_the_stage() -> None:
    assert [round(1e3 * host_s(24, stage)[0], 1) for stage in range(4)] == [15.5, 15.5, 33.5, 71.7]
    for stage in range(4):
        (twelve, _), (twenty_four, _) = host_s(12, stage), host_s(24, stage)
        assert (twenty_four - twelve) * 1e6 / 12 == pytest.approx(
            1e3 * MICRO_STEP[stage].python_ms + LAUNCH_US * MICRO_STEP[stage].operations
        )
    assert set(MICRO_STEP) == set(STEP) == set(range(4))
    assert OTHER_LAYERS < 12


def test_recomputation_costs_the_host_a_third() -> None:
    again = base(*SMALL, "train.activation_checkpointing=true")
    micro_s, step_s = host_s(12, 1)
    assert again.step(8).compute_s == pytest.approx(micro_s * 4 / 3 + step_s)
