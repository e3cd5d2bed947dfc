"""The keys whose effect needs two ranks. One launch of ranks trains all their recipes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from configs.recipe import write_recipe
from configs.run_layout import RECIPE
from configs.schema import Recipe
from pretrain.engine import gather
from pretrain.stop import StopRequest
from pretrain.telemetry import read_metrics
from pretrain.trainer import Trainer
from tests.distributed import small
from tests.integration.schema_walk.observing import Seen, of_records
from tests.integration.schema_walk.row import Row

ON_TWO: dict[str, Any] = {"train.precision": "bf16", "cluster.ranks_per_node": 2}


def train_all(folder: str, recipes: list[str]) -> list[dict[str, Any]]:
    """Train each recipe on the ranks that call this, and return its facts."""
    world = small.join()
    facts = []
    for number, text in enumerate(recipes):
        run, recipe = Path(folder) / str(number), Recipe.model_validate_json(text)
        if world.rank == 0:
            run.mkdir(parents=True)
            write_recipe(recipe, run / RECIPE)
        gather(None)
        trainer = Trainer(run, recipe, world, StopRequest())
        trainer.train("auto")
        held = sum(fragment.numel for fragment in trainer.engine.partition.fragments)
        offloads = trainer.engine._deepspeed.zero_offload_optimizer() is not None
        facts.append(of_records(read_metrics(run)) | {"held": held, "offloaded": offloads})
    return facts


def weights(seen: Seen) -> int:
    return sum(math.prod(shape) for shape, _ in seen["weights"].values())


def steps_agree(a: Seen, b: Seen) -> bool:
    """Return whether the losses are near each other: another order of sums, and not another training."""
    return all(
        math.isclose(one, other, rel_tol=1e-2) for (one, _), (other, _) in zip(a["losses"], b["losses"], strict=True)
    )


ROWS = [
    Row(
        "train.zero_stage",
        0,
        {"held"},
        lambda a, b: b["held"] == weights(b) and a["held"] < 0.6 * weights(a),
        ON_TWO,
        frozenset({"losses"}),
    ),
    Row("train.gradient_reduction", "bf16", {"losses"}, steps_agree, ON_TWO),
    Row("train.offload_optimizer", True, {"offloaded"}, steps_agree, ON_TWO, frozenset({"losses", "held"})),
]
