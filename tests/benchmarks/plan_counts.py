"""Compare the memory and the traffic that `bertrain plan` states with counts of one rank of several.

`python -m tests.benchmarks.plan --counts` runs it. See plan.py.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import torch

from configs.schema import Recipe
from configs.units import GIB
from pretrain.cost import HARDWARE, Cost
from pretrain.engine.distributed import World
from pretrain.engine.engine import Engine
from pretrain.model.pretraining import BertForPreTraining
from tests.benchmarks.traffic import Traffic
from tests.distributed import fake_ranks
from tests.distributed.peak_memory import ROWS, VOCABULARY, full_rows, peak_bytes, recipe_of

RANKS, STAGES, PRECISIONS = (1, 2, 4, 8), (0, 1, 2, 3), ("bf16", "fp32")
MICRO_STEPS = 2
BOUNDS = {"memory": 0.05, "sent": 0.02}  # relative error of the plan


def compare_counts() -> int:
    """Print the comparison as one JSON object; return 1 if a plan is outside `BOUNDS`."""
    rows = [row for ranks in RANKS for row in fake_ranks.run(count_rank, ranks - 1, ranks)]
    for row in rows:
        sys.stderr.write(f"{row}\n")
    ratios: dict[str, list[float]] = {
        figure: [row[f"planned_{figure}"] / row[f"counted_{figure}"] for row in rows if row[f"counted_{figure}"]]
        for figure in BOUNDS
    }
    worst = {figure: max(of_figure, key=error) for figure, of_figure in ratios.items()}
    unplanned = [row for row in rows if not row["counted_sent"] and row["planned_sent"]]
    farthest = max(worst.values(), key=error)
    is_exact = not unplanned and all(error(worst[figure]) <= bound for figure, bound in BOUNDS.items())
    result = {
        "benchmark": "plan_counts",
        "ratio": round(farthest, 4),
        "reference": "a step of the engine as one of 1, 2, 4 and 8 ranks",
        "worst": {figure: round(ratio, 4) for figure, ratio in worst.items()},
        "bounds": BOUNDS,
        "counts": rows,
    }
    print(json.dumps(result))
    return 0 if is_exact else 1


def error(ratio: float) -> float:
    """Return how far a ratio of planned and counted is from 1."""
    return abs(ratio - 1)


def count_rank(world: World) -> list[dict[str, Any]]:
    """Return planned and counted bytes of a rank, by ZeRO stage and precision."""
    stages = STAGES if world.world_size > 1 else (0,)  # a single rank trains at stage 0
    return [count(world, stage, precision) for stage, precision in itertools.product(stages, PRECISIONS)]


def count(world: World, stage: int, precision: str) -> dict[str, Any]:
    """Return planned and counted bytes of a rank at one stage and precision."""
    recipe = recipe_of(precision, "adamw", stage, recomputes=False)
    cost = Cost(recipe, HARDWARE["cpu"], VOCABULARY)
    return {
        "ranks": world.world_size,
        "zero_stage": stage,
        "precision": precision,
        "planned_memory": round(cost.memory(world.world_size, ROWS).total_gib * GIB),
        "counted_memory": peak_bytes(recipe, world),
        "planned_sent": round(cost.sent_bytes(world.world_size, MICRO_STEPS)),
        "counted_sent": round(sent_bytes(recipe, world)),
    }


def sent_bytes(recipe: Recipe, world: World) -> float:
    """Return the bytes that a rank sends in a step, with ring algorithms."""
    engine = Engine(BertForPreTraining(recipe.model, VOCABULARY, "nsp"), recipe.optimizer, recipe.train, world)
    torch.manual_seed(0)
    for _ in range(2):  # the first step allocates what the later steps reuse
        with Traffic() as traffic:
            for last in (False, True):
                mlm_loss, nsp_loss, *_ = engine.forward(full_rows())
                engine.backward((mlm_loss + nsp_loss) * 1e-6, last=last)
            assert not engine.step(1e-4).skipped
    sent: float = traffic.sent_bytes(world.world_size)
    return sent
