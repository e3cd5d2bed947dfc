"""All optimizers by the recipe's `optimizer.name`."""

from __future__ import annotations

from pretrain.engine.optimizers.adamw import ADAMW
from pretrain.engine.optimizers.kind import OptimizerKind
from pretrain.engine.optimizers.lamb import LAMB

OPTIMIZERS: dict[str, OptimizerKind] = {"adamw": ADAMW, "lamb": LAMB}
