"""The memory that pretrain.cost plans for a step matches the peak that PyTorch allocates during the step."""

from __future__ import annotations

import pytest

from configs.schema import ClusterConfig
from configs.units import GIB
from pretrain.cost import HARDWARE, Cost
from pretrain.engine import engine as engine_module
from pretrain.engine.deepspeed_setup import import_deepspeed
from pretrain.engine.distributed import join_process_group
from tests.distributed import ranks
from tests.distributed.peak_memory import ROWS, VOCABULARY, peak_bytes, recipe_of

pytestmark = pytest.mark.slow
CASES = [
    *(("fp32", "adamw", stage, False) for stage in (0, 1, 2, 3)),
    *(("bf16", "adamw", stage, False) for stage in (0, 1, 2, 3)),
    ("fp32", "adamw", 1, True),
    ("bf16", "lamb", 1, False),
    ("fp16", "adamw", 2, False),
]


def peaks(cases: list[tuple[str, str, int, bool]]) -> list[int]:
    world = join_process_group(ClusterConfig(device="cpu", cpu_threads=1))
    engine_module._check_precision = lambda *_: None  # allow fp16 on a CPU, which is slow but correct
    import_deepspeed(world)
    from deepspeed.accelerator import get_accelerator

    type(get_accelerator()).is_fp16_supported = lambda _: True
    return [peak_bytes(recipe_of(*case), world) for case in cases]


@pytest.mark.parametrize("world_size", [1, 2])
def test_step_takes_the_planned_memory(world_size: int) -> None:
    found = ranks.run(peaks, world_size, CASES, timeout_s=500)[0]
    plans = [Cost(recipe_of(*case), HARDWARE["cpu"], VOCABULARY).memory(world_size, ROWS) for case in CASES]
    errors = [plan.total_gib * GIB / peak - 1 for plan, peak in zip(plans, found, strict=True)]
    assert [abs(error) < 0.1 for error in errors] == [True] * len(CASES), errors
