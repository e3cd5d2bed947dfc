"""The number of device operations of a training step, as `python -m tests.benchmarks.host_cost` counts it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from pretrain.cost.host import MICRO_STEP, STEP

pytestmark = pytest.mark.slow

FORWARD_A_LAYER = 8  # operations of a post-LayerNorm layer: products, fused operations, sums of biases


def cost(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.host_cost", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


@pytest.mark.parametrize("stage", range(4))
def test_a_layer_makes_the_planned_device_operations(stage: int) -> None:
    two, four = (cost("--layers", str(layers), "--zero-stage", str(stage)) for layers in (2, 4))
    assert four["forward_operations"] - two["forward_operations"] == 2 * FORWARD_A_LAYER
    assert four["operations"] - two["operations"] == 2 * MICRO_STEP[stage].operations
    assert four["step_operations"] - two["step_operations"] == 2 * STEP[stage].operations
