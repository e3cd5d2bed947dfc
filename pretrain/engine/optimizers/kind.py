"""What the engine knows of an optimizer beside torch's interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from configs.schema import OptimizerConfig
from pretrain.kernels import Backend

Groups = list[dict[str, Any]]  # as `parameter_groups` makes them


class FlatSlice(NamedTuple):
    """Where a fragment lies: `length` elements of `weights`, which the optimizer steps on, from element `start` on.

    They are the elements `offset`, `offset + 1` … of the flattened parameter `name`.
    """

    name: str
    offset: int
    weights: Tensor
    start: int
    length: int


class OnePassOptimizer(torch.optim.Optimizer):
    """An optimizer of fp32 masters that also takes bf16 gradients, and rounds the masters to the bf16 weights itself.

    It multiplies gradients by `scale`. `weights` are the bf16 weights by their masters. The engine sets both.
    """

    weights: dict[Tensor, Tensor]
    scale = 1.0


def _ignore(*_: object, **__: object) -> None:
    """For an optimizer that updates each element by itself: it does not need to know which element that is."""


@dataclass(frozen=True)
class OptimizerKind:
    """One value of `optimizer.name`.

    `make` builds the optimizer over the groups of a whole model. The engine then exchanges the groups' `params` for
    fp32 masters or for this rank's flat partitions, and before each step sets `lr` and the number of the step, `step`
    (from 1), in each group. The optimizer's state is that of `ensure_moments`.
    """

    make: Callable[[Groups, OptimizerConfig, Backend], torch.optim.Optimizer]
    is_known_to_deepspeed: bool = False
    # Called before the first step with the optimizer, this rank's `FlatSlice`s and `is_partitioned`: whether other
    # ranks hold the rest of the elements.
    locate: Callable[..., None] = _ignore
    # A variant for one rank on a CPU in bf16, where there is one.
    make_one_pass: Callable[[Groups, OptimizerConfig], OnePassOptimizer] | None = None
